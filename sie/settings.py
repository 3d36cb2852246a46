# Rule: every timeout, limit and default of the system stands here, with its reason and its variable.
#       No other module reads the environment.
"""Settings: one frozen value, made once from the environment and the command line."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sie.errors import ConfigurationError

KIB = 1024
MIB = 1024 * KIB

_NONE: Mapping[str, str | bool | Sequence[str] | None] = MappingProxyType({})


def _flag(text: str) -> bool:
    lowered = text.strip().lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off", ""}:
        return False
    raise ValueError("say true or false")


def _number(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError("must not be negative")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1e9:
        raise ValueError("must be a number of seconds, 0 or more")
    return value


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _maybe_path(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _maybe_text(text: str) -> str | None:
    return text or None


def _text(text: str) -> str:
    return text


def _var(name: str, read: Callable[[str], Any], default: Any, why: str) -> Any:
    """One setting: its environment variable, how its text is read, its default, and why it is so."""
    return field(default=default, metadata={"variable": name, "read": read, "why": why})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set. Durations are in the unit the name ends in (`_s` seconds, `_ms` milliseconds)."""

    # -- where to listen
    host: str = _var("SIE_HOST", _text, "127.0.0.1", "loopback until told otherwise: a fresh engine has no token")
    port: int = _var("SIE_PORT", _number, 8080, "the port of the documented curl lines")
    grace_s: float = _var("SIE_GRACE_S", _seconds, 25.0, "in-flight requests at shutdown; under Kubernetes' 30 s")

    # -- what one connection may cost
    keep_alive_s: float = _var(
        "SIE_KEEP_ALIVE_S", _seconds, 75.0, "an idle connection; longer than most clients keep one, so they close it"
    )
    header_s: float = _var("SIE_HEADER_S", _seconds, 10.0, "a request's line and headers, from first byte to last")
    body_s: float = _var("SIE_BODY_S", _seconds, 60.0, "a request's body: 32 MiB at 5 Mbit/s take 54 s")
    write_stall_s: float = _var(
        "SIE_WRITE_STALL_S", _seconds, 20.0, "256 KiB of an answer not taken: the reader has gone, or means harm"
    )
    linger_s: float = _var(
        "SIE_LINGER_S", _seconds, 2.0, "an answer given before the body was read: closing at once would destroy it"
    )
    header_bytes: int = _var("SIE_HEADER_BYTES", _number, 16 * KIB, "a request's line and headers; then 431")
    websocket_bytes: int = _var("SIE_WEBSOCKET_BYTES", _number, 1 * MIB, "one message to us; none we read is as large")

    # -- who may do what
    auth_token: str | None = _var("SIE_AUTH_TOKEN", _maybe_text, None, "reads and infers")
    admin_token: str | None = _var("SIE_ADMIN_TOKEN", _maybe_text, None, "also adds models")
    close_health: bool = _var(
        "SIE_CLOSE_HEALTH", _flag, False, "/health and /metrics name models and workers: true asks a token for them"
    )

    # -- catalog
    models_dir: Path | None = _var("SIE_MODELS_DIR", _maybe_path, None, "model YAML files; unset: the built-in ones")
    bundles_dir: Path | None = _var("SIE_BUNDLES_DIR", _maybe_path, None, "bundle YAML files; unset: the built-in ones")
    bundles: tuple[str, ...] = _var("SIE_BUNDLES", _names, (), "bundles this process runs; empty: all")

    # -- config store
    store_dir: str | None = _var("SIE_CONFIG_STORE_DIR", _maybe_text, None, "unset: in memory, lost on restart")
    restore: bool = _var("SIE_CONFIG_RESTORE", _flag, False, "read the store before saying ready")
    store_timeout_s: float = _var(
        "SIE_CONFIG_STORE_TIMEOUT_S", _seconds, 5.0, "one call to the store; a local fsync takes ms, a busy S3 seconds"
    )
    commit_timeout_s: float = _var(
        "SIE_CONFIG_COMMIT_TIMEOUT_S", _seconds, 10.0, "one order in the writer, retries included; then 503"
    )
    orders_waiting: int = _var(
        "SIE_CONFIG_ORDERS_WAITING", _number, 256, "orders queued at the writer; beyond it a 503 is kinder than a wait"
    )
    snapshot_every: int = _var(
        "SIE_CONFIG_SNAPSHOT_EVERY", _number, 500, "entries between snapshots: a start reads at most this many and one"
    )
    store_retry_s: float = _var("SIE_CONFIG_STORE_RETRY_S", _seconds, 2.0, "between tries to reach an absent store")

    # -- acks
    ack_patience_s: float = _var("SIE_CONFIG_ACK_PATIENCE_S", _seconds, 3.0, "the documented 3 seconds")
    ack_linger_ms: int = _var(
        "SIE_CONFIG_ACK_LINGER_MS", _number, 50, "after one ack per bundle: lets the other workers into the answer too"
    )

    # -- limits on what the Config API takes
    config_body_bytes: int = _var("SIE_CONFIG_BODY_BYTES", _number, 128 * KIB, "a large real model file is 4 KiB")
    config_yaml_events: int = _var(
        "SIE_CONFIG_YAML_EVENTS", _number, 10_000, "parsing costs about 3 us an event: 30 ms at most, aliases counted"
    )
    config_yaml_depth: int = _var("SIE_CONFIG_YAML_DEPTH", _number, 64, "real files nest 6 deep")
    model_bytes: int = _var("SIE_CONFIG_MODEL_BYTES", _number, 512 * KIB, "merged canonical model; fits a NATS message")
    model_profiles: int = _var("SIE_CONFIG_MODEL_PROFILES", _number, 256, "profiles of one model")

    # -- idempotency
    keys_kept: int = _var("SIE_IDEMPOTENCY_KEYS", _number, 100_000, "keys of entries: about 20 MiB")
    unchanged_keys_s: float = _var("SIE_IDEMPOTENCY_UNCHANGED_S", _seconds, 600.0, "keys of 200s, in memory only")

    # -- engine
    device: str = _var("SIE_DEVICE", _text, "auto", "auto: cuda, then mps, then cpu")
    default_precision: str | None = _var(
        "SIE_DEFAULT_COMPUTE_PRECISION",
        _maybe_text,
        None,
        "if a profile gives none; unset: float32 on CPU, float16 on GPU",
    )
    queue_items: int = _var(
        "SIE_MAX_CONCURRENT_REQUESTS", _number, 512, "items waiting per loaded model; v0.1.10's name and default"
    )
    request_items: int = _var("SIE_MAX_REQUEST_ITEMS", _number, 16_384, "items in one request")
    request_body_bytes: int = _var("SIE_MAX_REQUEST_BYTES", _number, 32 * MIB, "one inference request's body")
    request_values: int = _var(
        "SIE_MAX_REQUEST_VALUES", _number, 512 * KIB, "values in one request, 32 an item: ten million `[]` take seconds"
    )
    item_text_bytes: int = _var(
        "SIE_MAX_TEXT_BYTES", _number, 1 * MIB, "one text: 100 times what the longest context reads of it"
    )
    default_batch_tokens: int = _var("SIE_DEFAULT_BATCH_TOKENS", _number, 8192, "for profiles that give none")
    memory_budget_bytes: int = _var(
        "SIE_MEMORY_BUDGET_BYTES", _number, 0, "weights resident on the device; 0: a share of what it has, below"
    )
    memory_percent: int = _var(
        "SIE_MEMORY_PRESSURE_THRESHOLD_PERCENT", _number, 85, "that share; the rest is for activations"
    )
    load_backoff_s: float = _var("SIE_LOAD_BACKOFF_S", _seconds, 5.0, "after a failed load, doubled each time")
    load_backoff_most_s: float = _var("SIE_LOAD_BACKOFF_MOST_S", _seconds, 300.0, "the most of it")
    wait_most_s: float = _var("SIE_PREFER_WAIT_MOST_S", _seconds, 300.0, "the most that Prefer: wait=N is granted")
    unload_wait_s: float = _var("SIE_UNLOAD_WAIT_S", _seconds, 30.0, "the device lane giving a model's memory back")
    preload: tuple[str, ...] = _var("SIE_PRELOAD", _names, (), "models to load at start, before any request")

    # -- weights
    weights_root: Path | None = _var("SIE_WEIGHTS_ROOT", _maybe_path, None, "where a weights_path may lie")
    local_cache: Path | None = _var("SIE_LOCAL_CACHE", _maybe_path, None, "weights already here, in the hub's layout")
    hf_fallback: bool = _var("SIE_HF_FALLBACK", _flag, True, "false: never ask the Hugging Face hub")
    allow_pickle: bool = _var("SIE_ALLOW_PICKLE_WEIGHTS", _flag, False, "pickled weights run code when loaded")
    allow_remote_code: bool = _var(
        "SIE_ALLOW_REMOTE_CODE", _flag, False, "a model's own Python runs only if this says so"
    )

    # -- identity and logs
    machine_profile: str = _var("SIE_MACHINE_PROFILE", _text, "", "what X-SIE-MACHINE-PROFILE is compared with")
    router_name: str | None = _var("POD_NAME", _maybe_text, None, "router_id's readable part; unset: the host's name")
    log_json: bool = _var("SIE_LOG_JSON", _flag, False, "one JSON object a line")
    log_level: str = _var("SIE_LOG_LEVEL", _text, "info", "debug, info, warning or error")

    @staticmethod
    def from_environment(
        environment: Mapping[str, str] | None = None, *, flags: Mapping[str, str | bool | Sequence[str] | None] = _NONE
    ) -> Settings:
        """Read every variable; `flags`, by setting's name and as typed, win. None and empty ones were not given.

        Raises ConfigurationError naming the variable, or flag, and what it should hold.
        """
        source = os.environ if environment is None else environment
        values: dict[str, Any] = {}
        for one in dataclasses.fields(Settings):
            variable, flag = one.metadata["variable"], flags.get(one.name)
            given = source.get(variable)
            if flag is not None and flag != ():
                given = flag if isinstance(flag, str) else ",".join(flag) if isinstance(flag, Sequence) else str(flag)
            if given is None:
                continue
            try:
                values[one.name] = one.metadata["read"](given)
            except ValueError as fault:
                raise ConfigurationError(f"{variable}={given!r}: {fault}") from None
        return Settings(**values)

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


def _var(
    name: str, read: Callable[[str], Any], default: Any, why: str, *, secret: bool = False, flag: str | None = None
) -> Any:
    """One setting: its environment variable, how its text is read, its default, and why it is so.

    `secret`: never shown, and no flag, whose value other users of the machine could read in a list of processes.
    `flag`: its name on the command line, where that is not the variable's.
    """
    return field(
        default=default,
        repr=not secret,
        metadata={"variable": name, "read": read, "why": why, "secret": secret, "flag": flag},
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set. Durations are in the unit the name ends in (`_s` seconds, `_ms` milliseconds)."""

    # -- where to listen
    host: str = _var("SIE_HOST", _text, "127.0.0.1", "loopback until told otherwise: a fresh engine has no token")
    port: int = _var("SIE_PORT", _number, 8080, "the port of the documented curl lines")
    grace_s: float = _var("SIE_GRACE_S", _seconds, 25.0, "in-flight requests at shutdown; under Kubernetes' 30 s")

    server: str = _var(
        "SIE_SERVER", _text, "listener", "or hypercorn: HTTP/2 as well, at a multiple of the cost of a request"
    )

    # -- what one connection may cost
    connections: int = _var("SIE_CONNECTIONS", _number, 10_000, "open at once; more wait in the kernel's queue")
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
    auth_token: str | None = _var("SIE_AUTH_TOKEN", _maybe_text, None, "reads and infers", secret=True)
    admin_token: str | None = _var("SIE_ADMIN_TOKEN", _maybe_text, None, "also adds models", secret=True)
    close_health: bool = _var(
        "SIE_CLOSE_HEALTH", _flag, False, "/health and /metrics name models and workers: true asks a token for them"
    )

    # -- catalog
    models_dir: Path | None = _var("SIE_MODELS_DIR", _maybe_path, None, "model YAML files; unset: the built-in ones")
    bundles_dir: Path | None = _var("SIE_BUNDLES_DIR", _maybe_path, None, "bundle YAML files; unset: the built-in ones")
    bundles: tuple[str, ...] = _var("SIE_BUNDLES", _names, (), "bundles this process runs or knows; empty: all")

    # -- config store
    store_dir: str | None = _var("SIE_CONFIG_STORE_DIR", _maybe_text, None, "unset: in memory, lost on restart")
    restore: bool = _var("SIE_CONFIG_RESTORE", _flag, False, "read the store before saying ready")
    store_timeout_s: float = _var(
        "SIE_CONFIG_STORE_TIMEOUT_S", _seconds, 5.0, "one call to the store; a local fsync takes ms, a busy S3 seconds"
    )
    snapshot_timeout_s: float = _var(
        "SIE_CONFIG_SNAPSHOT_TIMEOUT_S", _seconds, 60.0, "a shared store's snapshot on its way: 100k models make 100 MB"
    )
    commit_timeout_s: float = _var(
        "SIE_CONFIG_COMMIT_TIMEOUT_S", _seconds, 10.0, "one order, waiting for its turn and retries included; then 503"
    )
    orders_waiting: int = _var(
        "SIE_CONFIG_ORDERS_WAITING", _number, 256, "orders queued at the writer; beyond it a 503 is kinder than a wait"
    )
    snapshot_every: int = _var(
        "SIE_CONFIG_SNAPSHOT_EVERY", _number, 250, "entries between snapshots: a start reads at most as many; 2 ms each"
    )
    store_retry_s: float = _var(
        "SIE_CONFIG_STORE_RETRY_S", _seconds, 1.0, "the most between tries to reach an absent store: back 2 s after it"
    )

    # -- bus
    nats_url: str | None = _var(
        "SIE_NATS_URL",
        _maybe_text,
        None,
        "nats:// or tls://, user:password@ or token@ where asked for, servers apart by commas; unset: no bus",
        secret=True,
    )
    nats_credentials: Path | None = _var(
        "SIE_NATS_CREDS", _maybe_path, None, "a NATS credentials file (.creds): a JWT and the key that signs for it"
    )
    nats_tls_ca: Path | None = _var(
        "SIE_NATS_TLS_CA", _maybe_path, None, "whom to trust for NATS, PEM; unset: the system's authorities"
    )
    nats_tls_cert: Path | None = _var("SIE_NATS_TLS_CERT", _maybe_path, None, "our certificate for NATS, PEM")
    nats_tls_key: Path | None = _var("SIE_NATS_TLS_KEY", _maybe_path, None, "its key, PEM; unset: in the same file")
    bus_key: str | None = _var(
        "SIE_BUS_KEY",
        _maybe_text,
        None,
        "the same in every process: seals what they tell each other; unset: NATS permissions protect it",
        secret=True,
    )
    nats_connect_s: float = _var("SIE_NATS_CONNECT_S", _seconds, 2.0, "one try to connect, TLS and log-in included")
    nats_reconnect_s: float = _var(
        "SIE_NATS_RECONNECT_S", _seconds, 0.5, "the most between tries; jittered, or a whole cluster comes at once"
    )
    nats_ping_s: float = _var("SIE_NATS_PING_S", _seconds, 1.0, "between pings; two unanswered: the server is gone")
    nats_publish_s: float = _var(
        "SIE_NATS_PUBLISH_S", _seconds, 1.0, "until NATS confirms a change; a tenth of what a POST's client waits"
    )
    nats_sync_s: float = _var("SIE_NATS_SYNC_S", _seconds, 5.0, "silence in a catch-up before it is given up")
    nats_acquaint_s: float = _var(
        "SIE_NATS_ACQUAINT_S", _seconds, 0.3, "for routers with stores of their own to tell a new one what they know"
    )
    foreign_stores: int = _var(
        "SIE_FOREIGN_STORES",
        _number,
        16,
        "other routers' stores known beside one's own; all fit in a worker's status",
    )
    nats_message_bytes: int = _var(
        "SIE_NATS_MESSAGE_BYTES", _number, 4 * MIB, "a message to us: the largest model as YAML and as JSON, and air"
    )
    nats_backlog_bytes: int = _var(
        "SIE_NATS_BACKLOG_BYTES", _number, 64 * MIB, "heard and not looked at yet; what comes then is read later"
    )
    nats_sync_bytes: int = _var("SIE_NATS_SYNC_BYTES", _number, 512 * MIB, "one catch-up: about a million models")

    reconcile_s: float = _var(
        "SIE_CONFIG_RECONCILE_S", _seconds, 10.0, "between looks at the truth, jittered: how late without any bus"
    )

    # -- a worker
    bundle: str = _var("SIE_BUNDLE", _text, "default", "the one bundle a worker process serves")
    catchup_s: float = _var(
        "SIE_CATCHUP_S", _seconds, 10.0, "a worker that nobody can tell the truth serves what it has after this"
    )
    catchup_retry_s: float = _var(
        "SIE_CATCHUP_RETRY_S", _seconds, 1.0, "the most between tries while a worker knows that it misses something"
    )
    status_heartbeat_s: float = _var(
        "SIE_STATUS_HEARTBEAT_S", _seconds, 1.0, "a status where nothing changes; ten fit into a router's patience"
    )
    status_open: bool = _var(
        "SIE_STATUS_OPEN", _flag, False, "/ws/status without a token: routers of SIE v0.1.10 show none"
    )

    # -- the router's links to its workers
    workers: tuple[str, ...] = _var(
        "SIE_ROUTER_WORKERS", _names, (), "URLs of workers, http://host:port, dialled for ever", flag="--worker"
    )
    worker_dns: str | None = _var(
        "SIE_WORKER_DNS", _maybe_text, None, "name:port that resolves to all workers, as a headless service does"
    )
    worker_dns_s: float = _var("SIE_WORKER_DNS_S", _seconds, 2.0, "between look-ups: how late a new worker is dialled")
    status_silence_s: float = _var(
        "SIE_STATUS_SILENCE_S", _seconds, 10.0, "no status for so long: gone; importing torch can hold a worker for 7 s"
    )
    status_connect_s: float = _var(
        "SIE_STATUS_CONNECT_S", _seconds, 3.0, "one try to reach a worker, handshake included"
    )
    status_redial_s: float = _var(
        "SIE_STATUS_REDIAL_S", _seconds, 1.0, "the most between tries; jittered, or all routers come at once"
    )
    status_message_bytes: int = _var(
        "SIE_STATUS_MESSAGE_BYTES", _number, 1 * MIB, "a worker's status; v0.1.10's lists every model, 200 bytes each"
    )

    # -- the router's forwarding of inference
    configured_machines: tuple[str, ...] = _var(
        "SIE_ROUTER_CONFIGURED_GPUS",
        _names,
        (),
        "machine profiles that can be had; empty: any may come, none is refused",
    )
    provisioning_s: float = _var(
        "SIE_ROUTER_PROVISIONING_S", _seconds, 180.0, "a machine from nothing to ready, told with a 202"
    )
    provisioning_retry_s: float = _var(
        "SIE_ROUTER_PROVISIONING_RETRY_S", _seconds, 5.0, "Retry-After of a 202: longer ones round a cold start up"
    )
    no_workers_retry_s: float = _var("SIE_ROUTER_NO_WORKERS_RETRY_S", _seconds, 5.0, "Retry-After of NO_WORKERS")
    min_revision_s: float = _var(
        "SIE_ROUTER_MIN_REVISION_S",
        _seconds,
        2.0,
        "X-SIE-Min-Revision: news takes milliseconds, a dead bus a reconcile",
    )
    forward_connect_s: float = _var("SIE_ROUTER_CONNECT_S", _seconds, 2.0, "a TCP connection to a worker next door")
    forward_silence_s: float = _var(
        "SIE_ROUTER_SILENCE_S", _seconds, 330.0, "a worker that answers nothing; above the most of Prefer: wait"
    )
    forward_keep_alive_s: float = _var(
        "SIE_ROUTER_KEEP_ALIVE_S", _seconds, 4.0, "an idle connection to a worker; v0.1.10's close theirs after 5 s"
    )
    forward_kept_bytes: int = _var(
        "SIE_ROUTER_KEPT_BYTES", _number, 1 * MIB, "of a request's body, kept to repeat it on another worker"
    )

    # -- watching the config, and the cluster
    cluster_status_s: float = _var("SIE_CLUSTER_STATUS_S", _seconds, 1.0, "between statuses; what v0.1.10 sends")
    watch_bytes: int = _var(
        "SIE_WATCH_BYTES", _number, 16 * MIB, "entries kept for watchers to resume from, about 2 KiB each"
    )
    watch_bookmark_s: float = _var(
        "SIE_WATCH_BOOKMARK_S", _seconds, 0.8, "between bookmarks: at least one a second is promised"
    )

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
    backend: str = _var(
        "SIE_BACKEND",
        _text,
        "onednn",
        "if a profile gives none: onednn (torch, but float32 linear layers on a CPU by oneDNN), torch, onnx, compile, "
        "or auto for the quickest",
    )
    onednn_shapes: int = _var(
        "SIE_ONEDNN_SHAPES",
        _number,
        32,
        "batches' shapes that oneDNN keeps its code for, and torch what it has prepared: 1,024 of their own are half "
        "a gigabyte after some hundred batches of mixed lengths, and so few 150 MB and no slower",
    )
    graphs: Path | None = _var(
        "SIE_GRAPHS", _maybe_path, None, "exported ONNX graphs, as large as the weights; unset: ~/.cache/sie/graphs"
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
    embedding_cache_bytes: int = _var(
        "SIE_EMBEDDING_CACHE_BYTES", _number, 0, "results kept by their tokens, model and options; 0: none"
    )
    default_batch_tokens: int = _var("SIE_DEFAULT_BATCH_TOKENS", _number, 8192, "for profiles that give none")
    batch_start_tokens: int = _var(
        "SIE_BATCH_START_TOKENS", _number, 512, "a model's first batch; from there batches double as far as it pays"
    )
    batch_overhead_percent: int = _var(
        "SIE_BATCH_OVERHEAD_PERCENT",
        _number,
        3,
        "of a batch's time that may go to what each batch costs, whatever is in it: larger ones would only keep others "
        "waiting; 0: batches as large as the profile's max_batch_tokens",
    )
    memory_budget_bytes: int = _var(
        "SIE_MEMORY_BUDGET_BYTES", _number, 0, "weights resident on the device; 0: a share of what it has, below"
    )
    memory_percent: int = _var(
        "SIE_MEMORY_PRESSURE_THRESHOLD_PERCENT", _number, 85, "that share; the rest is for activations"
    )
    load_backoff_s: float = _var("SIE_LOAD_BACKOFF_S", _seconds, 5.0, "after a failed load, doubled each time")
    load_backoff_most_s: float = _var("SIE_LOAD_BACKOFF_MOST_S", _seconds, 300.0, "the most of it")
    first_load_s: float = _var(
        "SIE_FIRST_LOAD_S", _seconds, 5.0, "Retry-After while a model loads that never did; then what it took last time"
    )
    retry_after_most_s: float = _var("SIE_RETRY_AFTER_MOST_S", _seconds, 30.0, "clients that wait longer give up")
    restart_s: float = _var("SIE_RESTART_S", _seconds, 0.1, "before a crashed bundle starts again, doubled each time")
    restart_most_s: float = _var("SIE_RESTART_MOST_S", _seconds, 30.0, "the most of it; a life so long counts as well")
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

    def bound_onednn(self) -> None:
        """Where the two libraries read it, before torch is imported; what somebody else has set there stays."""
        for variable in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
            os.environ.setdefault(variable, str(self.onednn_shapes))

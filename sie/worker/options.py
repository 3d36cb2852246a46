# Rule: pure. Everything a request can get wrong about a model is said here, before anything is loaded.
"""From a model, a profile and a request to what is to be run."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from sie.catalog.adapters import AdapterClass, find_adapter
from sie.catalog.canonical import Json
from sie.catalog.model import Model, Resolved
from sie.errors import InvalidInput
from sie.wire.inference import OUTPUT_TYPES, DType, EncodeRequest, OutputType, ScoreRequest
from sie.worker.adapters.contract import POOLINGS, RunOptions
from sie.worker.identity import LoadIdentity, identify

POOLING_NAMES: Mapping[str, str] = {
    **{name: name for name in POOLINGS},
    "last": "lasttoken",
    "last_token": "lasttoken",
    "mean_sqrt_len": "mean_sqrt_len_tokens",
}
# Kept at most: some KiB each.
_PLANS = 1024
DTYPES: Mapping[str, DType] = {
    "float32": "float32",
    "float16": "float16",
    "int8": "int8",
    "uint8": "uint8",
    "binary": "binary",
    "ubinary": "binary",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A profile chosen, and every option in effect for one request."""

    resolved: Resolved
    adapter: AdapterClass
    identity: LoadIdentity
    options: Mapping[str, Json]  # the profile's, overlaid by the request's
    run: RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodePlan(Plan):
    outputs: tuple[OutputType, ...]
    dtype: DType


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePlan(Plan):
    """`run` shapes the query; `items` the documents, where they are run on their own."""

    items: RunOptions


def supported_outputs(model: Model, adapter: AdapterClass) -> frozenset[str]:
    """What requests may ask of a model: what its `tasks` list, or all its adapter gives where there are none."""
    tasks = cast("Mapping[str, Any] | None", model.fields.get("tasks"))
    if tasks is None:
        return adapter.outputs
    encode = tasks.get("encode") or {}
    listed = {name for name, task in encode.items() if task is not None}
    if tasks.get("score") is not None:
        listed.add("score")
    return adapter.outputs & listed


def read_plan(model: Model, profile: str | None, options: Mapping[str, Json], instruction: str | None = None) -> Plan:
    """The profile of `{id}:{profile}`, else of `options.profile`, else "default", with the request's options on top.

    Raises InvalidInput: no such profile, two different ones, an option of the wrong type or not supported.
    """
    asked = options.get("profile")
    if asked is not None and not isinstance(asked, str):
        raise InvalidInput("options.profile must be a string", path="options.profile")
    if profile is not None and asked is not None and asked != profile:
        raise InvalidInput(
            f"The name says profile {profile!r} and options.profile says {asked!r}", path="options.profile"
        )
    name = profile or asked or "default"
    if name not in model.profiles:
        known = ", ".join(model.profiles)
        raise InvalidInput(
            f"Model {model.sie_id!r} has no profile {name[:80]!r}; it has: {known}", path="options.profile"
        )
    resolved = model.resolve(name)
    adapter = find_adapter(resolved.adapter_path)
    if adapter is None:
        raise InvalidInput(f"This build has no adapter {resolved.adapter_path!r}")
    merged = {
        **resolved.runtime,
        **{key: value for key, value in options.items() if key != "profile" and value is not None},
    }
    for name, what in (("lora_id", "LoRA adapters are"), ("muvera", "MUVERA is")):
        if merged.get(name) is not None:
            raise InvalidInput(f"options.{name}: {what} not supported", path=f"options.{name}")
    return Plan(
        resolved=resolved,
        adapter=adapter,
        identity=identify(model, resolved, adapter),
        options=merged,
        run=_run_options(merged, resolved.runtime, options, instruction),
    )


def read_encode(model: Model, profile: str | None, request: EncodeRequest) -> EncodePlan:
    """What an encode request runs. Options given by the request or the profile win over its own `output_types`.

    Raises InvalidInput naming the field.
    """
    plan = read_plan(model, profile, request.options, request.instruction)
    if not request.items:
        raise InvalidInput("Field 'items' must not be empty", path="items")
    listed = plan.options.get("output_types")
    if listed is not None and (
        isinstance(listed, str) or not isinstance(listed, Sequence) or not all(isinstance(one, str) for one in listed)
    ):
        raise InvalidInput("options.output_types must be a list of strings", path="options.output_types")
    supported = supported_outputs(model, plan.adapter)
    possible = [output for output in OUTPUT_TYPES if output in supported]
    if not possible:
        raise InvalidInput(f"Model {model.sie_id!r} does not support encode; it supports: {_list(supported)}")
    # Dense unless asked otherwise; a model without it gives the first it has, which is kinder than a refusal.
    wanted = cast("Sequence[str]", listed) or request.output_types or possible[:1]
    for output in wanted:
        if output not in possible:
            raise InvalidInput(
                f"Model {model.sie_id!r} does not support output type {output[:80]!r}; it supports: {_list(possible)}",
                path="output_types",
            )
    dtype = request.output_dtype or _text(plan.options, "output_dtype") or "float32"
    if dtype not in DTYPES:
        raise InvalidInput(f"Unknown output_dtype {dtype[:80]!r}; known: {_list(DTYPES)}", path="output_dtype")
    return EncodePlan(
        resolved=plan.resolved,
        adapter=plan.adapter,
        identity=plan.identity,
        options=plan.options,
        run=plan.run,
        outputs=tuple(output for output in possible if output in wanted),
        dtype=DTYPES[dtype],
    )


class EncodePlans:
    """Plans of what is asked again and again, kept as long as the model is the same. None with options of its own."""

    def __init__(self) -> None:
        self._plans: dict[Hashable, tuple[Model, EncodePlan]] = {}

    def read(self, model: Model, profile: str | None, request: EncodeRequest) -> EncodePlan:
        """As `read_encode`."""
        if request.options or request.instruction is not None or not request.items:
            return read_encode(model, profile, request)
        outputs = None if request.output_types is None else tuple(request.output_types)
        key = id(model), profile, outputs, request.output_dtype
        found = self._plans.get(key)
        if found is not None and found[0] is model:
            return found[1]
        plan = read_encode(model, profile, request)
        if len(self._plans) >= _PLANS:
            self._plans.clear()
        self._plans[key] = model, plan
        return plan


def read_score(model: Model, profile: str | None, request: ScoreRequest) -> ScorePlan:
    """What a score request runs: the query as a query, the items as documents. Raises InvalidInput naming the field."""
    plan = read_plan(model, profile, request.options, request.instruction)
    if not request.items:
        raise InvalidInput("Field 'items' must not be empty", path="items")
    supported = supported_outputs(model, plan.adapter)
    if "score" not in supported:
        raise InvalidInput(f"Model {model.sie_id!r} does not support score; it supports: {_list(supported)}")
    return ScorePlan(
        resolved=plan.resolved,
        adapter=plan.adapter,
        identity=plan.identity,
        options=plan.options,
        run=replace(plan.run, is_query=True),
        # An instruction says what a query looks for: it is no part of a document.
        items=replace(plan.run, is_query=False, instruction=None),
    )


def _run_options(
    merged: Mapping[str, Json], runtime: Mapping[str, Json], options: Mapping[str, Json], explicit: str | None
) -> RunOptions:
    pooling = _text(merged, "pooling")
    if pooling is not None and pooling not in POOLING_NAMES:
        raise InvalidInput(
            f"options.pooling: {pooling[:80]!r} is not one of {_list(POOLING_NAMES)}", path="options.pooling"
        )
    is_query = _flag(merged, "is_query")
    given = _text(merged, "instruction")
    instruction = explicit if explicit is not None else given
    asked_for = explicit is not None or options.get("instruction") is not None
    if is_query is False and not asked_for:
        instruction = None  # the profile's instruction is for queries, and the request says these are none
    if instruction is None and is_query:
        instruction = _text(runtime, "default_instruction")
    return RunOptions(
        pooling=POOLING_NAMES[pooling] if pooling is not None else None,
        normalize=_flag(merged, "normalize"),
        instruction=instruction or None,
        is_query=is_query,
        query_template=_text(merged, "query_template") or None,
        doc_template=_text(merged, "doc_template") or None,
    )


def _text(options: Mapping[str, Json], name: str) -> str | None:
    value = options.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidInput(f"options.{name} must be a string", path=f"options.{name}")
    return value


def _flag(options: Mapping[str, Json], name: str) -> bool | None:
    value = options.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidInput(f"options.{name} must be true or false", path=f"options.{name}")
    return value


def _list(names: Any) -> str:
    return ", ".join(sorted(names)) or "nothing"

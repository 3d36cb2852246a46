"""What a request may say about a model, and what wins over what; all of it before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from sie.catalog.model import Model
from sie.errors import InvalidInput
from sie.testing.device import FakeDevice
from sie.worker.adapters.contract import RunOptions
from sie.worker.options import read_encode, read_plan, read_score
from tests.worker.made import CROSS_ENCODER, SPARSE, encode, made_model, running, score

MEDICAL = {"extends": "default", "adapter_options": {"runtime": {"instruction": "Retrieve medical literature"}}}


def model_with(**runtime: Any) -> Model:
    return made_model(profiles={"it": {"extends": "default", "adapter_options": {"runtime": runtime}}})


@pytest.mark.parametrize(
    ("profile", "options", "chosen"),
    [
        (None, {}, "default"),
        (None, {"profile": "medical"}, "medical"),
        ("medical", {}, "medical"),
        ("medical", {"profile": "medical"}, "medical"),
        (None, {"profile": None}, "default"),
    ],
)
def test_the_profile_is_the_names_or_the_options(profile: str | None, options: dict[str, Any], chosen: str) -> None:
    model = made_model(profiles={"medical": MEDICAL})
    assert read_plan(model, profile, options).resolved.name == chosen


def test_profiles_that_differ_in_runtime_only_share_an_identity() -> None:
    model = made_model(
        profiles={
            "medical": MEDICAL,
            "half": {"extends": "default", "compute_precision": "float16"},
            "eager": {"extends": "default", "adapter_options": {"loadtime": {"attn_implementation": "eager"}}},
        }
    )
    identities = {name: read_plan(model, name, {}).identity for name in model.profiles}
    assert identities["medical"] == identities["default"]
    assert len(set(identities.values())) == 3


@pytest.mark.parametrize(
    ("profile", "options", "path"),
    [
        ("legal", {}, "options.profile"),
        (None, {"profile": "legal"}, "options.profile"),
        (None, {"profile": 3}, "options.profile"),
        ("default", {"profile": "medical"}, "options.profile"),
        (None, {"pooling": "best"}, "options.pooling"),
        (None, {"pooling": 1}, "options.pooling"),
        (None, {"normalize": "yes"}, "options.normalize"),
        (None, {"is_query": 1}, "options.is_query"),
        (None, {"instruction": []}, "options.instruction"),
        (None, {"query_template": 1}, "options.query_template"),
        (None, {"doc_template": 1}, "options.doc_template"),
        (None, {"output_types": "dense"}, "options.output_types"),
        (None, {"output_types": [1]}, "options.output_types"),
        (None, {"output_types": ["sparse"]}, "output_types"),
        (None, {"output_dtype": "float8"}, "output_dtype"),
        (None, {"output_dtype": 8}, "options.output_dtype"),
        (None, {"lora_id": "org/lora"}, "options.lora_id"),
        (None, {"muvera": {}}, "options.muvera"),
    ],
)
async def test_what_cannot_work_is_refused_by_name_and_nothing_is_loaded(
    profile: str | None, options: dict[str, Any], path: str
) -> None:
    device = FakeDevice()
    async with running(device) as compute:
        with pytest.raises(InvalidInput) as refused:
            await compute.encode(
                made_model(profiles={"medical": MEDICAL}), profile, encode("text", options=options), wait_s=9
            )
    assert refused.value.fields["path"] == path
    assert device.loads == []


def test_unknown_options_are_let_be() -> None:
    assert read_plan(made_model(), None, {"batch_size": 3, "pooling": None}).run == RunOptions()


def test_the_requests_options_lie_over_the_profiles() -> None:
    model = model_with(pooling="mean", normalize=True)
    run = read_plan(model, "it", {"pooling": "last_token"}).run
    assert (run.pooling, run.normalize) == ("lasttoken", True)


@pytest.mark.parametrize(
    ("runtime", "params", "instruction"),
    [
        ({"instruction": "profile"}, {}, "profile"),
        ({"instruction": "profile"}, {"options": {"instruction": "option"}}, "option"),
        ({"instruction": "profile"}, {"options": {"instruction": "option"}, "instruction": "param"}, "param"),
        ({"instruction": "profile"}, {"options": {"is_query": True}}, "profile"),
        # The profile's instruction is for queries; the request's own word is taken as it is.
        ({"instruction": "profile"}, {"options": {"is_query": False}}, None),
        ({"instruction": "profile"}, {"options": {"is_query": False}, "instruction": "param"}, "param"),
        ({"default_instruction": "usual"}, {"options": {"is_query": True}}, "usual"),
        ({"default_instruction": "usual"}, {}, None),
        ({}, {"instruction": ""}, None),
    ],
)
def test_which_instruction_is_in_effect(
    runtime: dict[str, Any], params: dict[str, Any], instruction: str | None
) -> None:
    assert read_encode(model_with(**runtime), "it", encode("text", **params)).run.instruction == instruction


@pytest.mark.parametrize(
    ("runtime", "params", "outputs"),
    [
        ({}, {}, ("dense",)),
        ({}, {"output_types": ["multivector", "dense"]}, ("dense", "multivector")),
        ({"output_types": ["multivector"]}, {"output_types": ["dense"]}, ("multivector",)),
        (
            {"output_types": ["multivector"]},
            {"output_types": ["multivector"], "options": {"output_types": ["dense"]}},
            ("dense",),
        ),
    ],
)
def test_output_types_of_the_options_win(
    runtime: dict[str, Any], params: dict[str, Any], outputs: tuple[str, ...]
) -> None:
    assert read_encode(model_with(**runtime), "it", encode("text", **params)).outputs == outputs


def test_output_dtype_of_the_request_wins() -> None:
    model = model_with(output_dtype="int8")
    assert read_encode(model, "it", encode("text")).dtype == "int8"
    assert read_encode(model, "it", encode("text", output_dtype="ubinary")).dtype == "binary"


def test_tasks_say_what_may_be_asked() -> None:
    model = made_model(tasks={"encode": {"dense": {"dim": 384}}})
    assert read_encode(model, None, encode("text")).outputs == ("dense",)
    with pytest.raises(InvalidInput):
        read_encode(model, None, encode("text", output_types=["multivector"]))
    with pytest.raises(InvalidInput):
        read_score(model, None, score("query", "text"))
    read_score(made_model(tasks={"score": {}}), None, score("query", "text"))
    with pytest.raises(InvalidInput):
        read_encode(made_model(adapter=CROSS_ENCODER), None, encode("text"))


def test_a_sparse_model_gives_sparse_when_nothing_is_asked() -> None:
    assert read_encode(made_model(adapter=SPARSE), None, encode("text")).outputs == ("sparse",)


def test_a_score_runs_the_query_as_a_query_and_the_items_as_documents() -> None:
    plan = read_score(made_model(), None, score("query", "text", instruction="find"))
    assert (plan.run.is_query, plan.run.instruction) == (True, "find")
    assert (plan.items.is_query, plan.items.instruction) == (False, None)


async def test_too_many_items_are_refused() -> None:
    async with running(request_items=3) as compute:
        with pytest.raises(InvalidInput):
            await compute.encode(made_model(), None, encode(*"abcd"))
        with pytest.raises(InvalidInput):
            await compute.encode(made_model(), None, encode())


async def test_a_description_says_what_the_config_says_then_the_class_then_the_model() -> None:
    plain, told = made_model("org/a"), made_model("org/b", tasks={"encode": {"dense": {"dim": 7}}, "score": {}})
    async with running() as compute:
        info = compute.describe(plain)
        assert (info.outputs, info.dims, info.max_sequence_length) == (["dense", "multivector", "score"], {}, None)
        assert (info.state, info.loaded, info.inputs) == ("available", False, ["text"])
        assert compute.describe(told).dims == {"dense": 7}
        assert compute.describe(told).outputs == ["dense", "score"]
        await compute.preload(plain)
        info = compute.describe(plain)
        assert (info.dims, info.max_sequence_length) == ({"dense": 8, "multivector": 8}, 512)
        assert (info.state, info.loaded) == ("loaded", True)
    assert compute.describe(plain).dims == {"dense": 8, "multivector": 8}  # what is known is kept

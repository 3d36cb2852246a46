"""Judging: the page's sentences about 201, 200, 409 and 422, and every rule of the merged model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sie.catalog.catalog import Catalog
from sie.catalog.change import read_change
from sie.catalog.document import write_document
from sie.catalog.judge import draft, judge
from sie.errors import ContentConflict, ValidationError
from tests.catalog.made import DENSE, ELSEWHERE, LIMITS, SPARSE, catalog, post
from tests.catalog.test_catalog import FILE
from tests.pages import APPEND, FIRST, FULL, MINIMAL, PAGE_ID


def model(**profiles: Any) -> dict[str, Any]:
    return {"sie_id": "org/model", "profiles": profiles}


def faults(to: Catalog, body: dict[str, Any], **options: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as raised:
        post(to, body, **options)
    return {one["path"]: one["message"] for one in raised.value.fields["details"]}


def conflict(to: Catalog, body: bytes | dict[str, Any]) -> dict[str, Any]:
    before = to.head
    with pytest.raises(ContentConflict) as raised:
        post(to, body)
    assert to.head == before
    return dict(raised.value.fields)


# -- the page


def test_the_first_example_creates_default() -> None:
    made = catalog()
    verdict = post(made, FIRST)
    assert (verdict.created, verdict.skipped, verdict.changes) == (("default",), (), True)
    assert made.bundles_of(verdict.model, "default") == ("default",)


def test_the_append_example_after_the_minimal_one_creates_medical_and_skips_default() -> None:
    made = catalog()
    post(made, MINIMAL)
    verdict = post(made, APPEND)
    assert (verdict.created, verdict.skipped) == (("medical",), ("default",))


def test_the_append_example_after_the_first_one_is_a_conflict_of_default_and_creates_nothing() -> None:
    made = catalog()
    post(made, FIRST)
    assert conflict(made, APPEND) == {
        "model_id": PAGE_ID,
        "conflicting_profiles": ["default"],
        "conflicting_fields": ["profiles.default.adapter_options"],
    }
    assert list(made.models()[0].profiles) == ["default"]


def test_the_same_body_again_changes_nothing() -> None:
    made = catalog()
    post(made, FULL)
    verdict = post(made, FULL)
    assert not verdict.changes
    assert (verdict.created, verdict.skipped) == ((), ("default", "financial"))
    assert made.head == 1


def test_appending_to_a_filesystem_model_keeps_everything_of_it() -> None:
    made = catalog(FILE)
    verdict = post(made, {"sie_id": "org/shipped", "profiles": {"medical": {"extends": "default"}}})
    assert verdict.created == ("medical",)
    after = made.models()[0]
    assert list(after.profiles) == ["default", "sparse", "medical"]
    assert after.fields == {"hf_id": "org/shipped"}
    assert after.source == "filesystem"


# -- fields


def test_a_field_that_was_absent_may_come_later_and_makes_an_entry_without_profiles() -> None:
    made = catalog()
    post(made, MINIMAL)
    verdict = post(made, FULL.split(b"profiles:")[0] + b"profiles:" + MINIMAL.split(b"profiles:")[1])
    assert verdict.created == ()
    assert set(verdict.fields) == {"hf_id", "inputs", "tasks"}
    assert verdict.changes
    assert made.head == 2
    assert set(made.models()[0].fields) == {"hf_id", "inputs", "tasks"}


def test_a_field_that_is_there_may_not_differ() -> None:
    made = catalog()
    post(made, {**model(default={"adapter_path": DENSE}), "hf_id": "a/b", "max_sequence_length": 512})
    body = {**model(default={"adapter_path": DENSE}), "hf_id": "a/c", "max_sequence_length": 512}
    assert conflict(made, body) == {
        "model_id": "org/model",
        "conflicting_profiles": [],
        "conflicting_fields": ["hf_id"],
    }


def test_leaving_out_a_field_is_no_difference() -> None:
    made = catalog()
    post(made, FULL)
    assert not post(made, FULL.replace(b"hf_id: intfloat/multilingual-e5-base\n", b"")).changes


# -- 409


def test_a_conflict_names_every_profile_and_the_smallest_parts_that_differ() -> None:
    made = catalog()
    post(
        made,
        model(
            default={"adapter_path": DENSE, "max_batch_tokens": 1, "adapter_options": {"runtime": {"a": 1, "b": 1}}},
            other={"adapter_path": DENSE, "compute_precision": "float16"},
            same={"adapter_path": DENSE},
        ),
    )
    found = conflict(
        made,
        model(
            default={"adapter_path": DENSE, "max_batch_tokens": 2, "adapter_options": {"runtime": {"a": True, "b": 1}}},
            other={"extends": "default"},
            same={"adapter_path": DENSE},
            new={"adapter_path": DENSE},
        ),
    )
    assert found["conflicting_profiles"] == ["default", "other"]
    assert set(found["conflicting_fields"]) == {
        "profiles.default.max_batch_tokens",
        "profiles.default.adapter_options.runtime.a",
        "profiles.other.extends",
        "profiles.other.adapter_path",
        "profiles.other.compute_precision",
    }
    assert "new" not in made.models()[0].profiles


def test_a_conflict_comes_before_faults_of_the_merged_model() -> None:
    made = catalog()
    post(made, MINIMAL)
    body = MINIMAL.replace(b"8192", b"1") + b"  bad:\n    adapter_path: no.such:Adapter\n"
    assert conflict(made, body)["conflicting_profiles"] == ["default"]


# -- 422


@pytest.mark.parametrize(
    ("profiles", "path"),
    [
        ({"other": {"adapter_path": DENSE}}, "profiles.default"),
        ({"default": {"extends": "default"}}, "profiles.default.extends"),
        ({"default": {"adapter_path": DENSE}, "a": {"extends": "b"}}, "profiles.a.extends"),
        (
            {"default": {"adapter_path": DENSE}, "a": {"extends": "default"}, "b": {"extends": "a"}},
            "profiles.b.extends",
        ),
        ({"default": {"adapter_path": "no.such:Adapter"}}, "profiles.default.adapter_path"),
        (
            {"default": {"adapter_path": "sie_server.adapters.sentence_transformer:Nope"}},
            "profiles.default.adapter_path",
        ),
        (
            {"default": {"adapter_path": DENSE, "adapter_options": {"loadtime": {"model_kwargs": {}}}}},
            "profiles.default.adapter_options.loadtime.model_kwargs",
        ),
        (
            {"default": {"adapter_path": DENSE, "adapter_options": {"loadtime": {"attn_implementation": "evil/code"}}}},
            "profiles.default.adapter_options.loadtime.attn_implementation",
        ),
        (
            {"default": {"adapter_path": DENSE, "adapter_options": {"loadtime": {"trust_remote_code": 1}}}},
            "profiles.default.adapter_options.loadtime.trust_remote_code",
        ),
        (
            {
                "default": {"adapter_path": DENSE},
                "a": {"extends": "default", "adapter_options": {"loadtime": {"token": "x"}}},
            },
            "profiles.a.adapter_options.loadtime.token",
        ),
    ],
)
def test_a_merged_model_that_would_not_work_is_refused_with_the_path(profiles: dict[str, Any], path: str) -> None:
    made = catalog()
    assert list(faults(made, model(**profiles))) == [path]
    assert made.models() == []


def test_a_cycle_is_refused_at_both_ends() -> None:
    found = faults(catalog(), model(default={"adapter_path": DENSE}, a={"extends": "b"}, b={"extends": "a"}))
    assert set(found) == {"profiles.a.extends", "profiles.b.extends"}


def test_a_parent_may_be_one_that_is_stored_already_and_a_chain_through_it_is_refused() -> None:
    made = catalog()
    post(made, APPEND)
    post(made, {"sie_id": PAGE_ID, "profiles": {"legal": {"extends": "default"}}})
    found = faults(made, {"sie_id": PAGE_ID, "profiles": {"deep": {"extends": "medical"}}})
    assert list(found) == ["profiles.deep.extends"]


def test_an_unroutable_adapter_is_told_which_modules_there_are_and_a_wrong_class_which_classes() -> None:
    said = faults(catalog(), model(default={"adapter_path": "no.such:Adapter"}))["profiles.default.adapter_path"]
    assert "default: sentence_transformer, splade_flash" in said
    wrong = "sie_server.adapters.sentence_transformer:Nope"
    said = faults(catalog(), model(default={"adapter_path": wrong}))["profiles.default.adapter_path"]
    assert "SentenceTransformerDenseAdapter" in said


def test_a_class_of_a_module_that_is_not_ours_is_taken_on_the_word_of_its_bundle() -> None:
    options = {"loadtime": {"anything": 1}}
    assert post(catalog(), model(default={"adapter_path": ELSEWHERE, "adapter_options": options})).created


def test_every_new_profile_must_run_somewhere_all_faults_at_once() -> None:
    found = faults(
        catalog(),
        model(default={"adapter_path": "a.b:C"}, child={"extends": "default"}, good={"adapter_path": SPARSE}),
    )
    assert set(found) == {"profiles.default.adapter_path", "profiles.child.adapter_path"}


def test_an_id_that_differs_only_in_case_from_one_that_exists_is_refused() -> None:
    made = catalog(FILE)
    post(made, model(default={"adapter_path": DENSE}))
    for sie_id in ("Org/Shipped", "ORG/model"):
        assert list(faults(made, {"sie_id": sie_id, "profiles": {"default": {"adapter_path": DENSE}}})) == ["sie_id"]


def test_the_merged_model_has_limits() -> None:
    made = catalog()
    post(made, model(default={"adapter_path": DENSE}, **{f"p{one}": {"extends": "default"} for one in range(250)}))
    assert list(faults(made, model(**{f"q{one}": {"extends": "default"} for one in range(6)}))) == ["profiles"]
    change = read_change(write_document(model(more={"extends": "default"})).encode(), LIMITS)
    with pytest.raises(ValidationError) as raised:
        judge(made, change, replace(LIMITS, model_bytes=1000))
    assert "1000" in raised.value.message


def test_lenient_takes_what_nothing_here_can_run_and_still_no_missing_parent() -> None:
    made = catalog()
    assert post(made, model(default={"adapter_path": "no.such:Adapter"}), lenient=True).created == ("default",)
    assert list(faults(made, model(a={"extends": "b"}), lenient=True)) == ["profiles.a.extends"]


def test_judging_changes_nothing() -> None:
    made = catalog()
    change = read_change(FIRST, LIMITS)
    assert judge(made, change, LIMITS) == judge(made, change, LIMITS)
    assert (made.head, made.models()) == (0, [])


def test_the_entry_says_what_was_created_and_by_whom() -> None:
    made = catalog()
    post(made, MINIMAL)
    verdict = judge(made, read_change(APPEND, LIMITS), LIMITS)
    entry = draft(verdict, write_id="w", time="t", router_id="r", body_hash="b", idempotency_key="k")
    assert (entry.model_id, list(entry.profiles), entry.skipped) == (PAGE_ID, ["medical"], ("default",))
    assert (entry.write_id, entry.time, entry.router_id, entry.body_hash, entry.idempotency_key) == tuple("wtrbk")
    assert (entry.base, entry.revision) == (None, 0)

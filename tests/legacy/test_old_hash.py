"""The stand-ins' own hash meets the golden values of the format, and this project's meets the stand-ins'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from sie.catalog.change import ChangeLimits, read_change
from sie.catalog.digest import bundle_config_hash
from sie.catalog.entry import Entry
from sie.catalog.judge import draft, judge
from sie.files import load_catalog
from sie.settings import Settings
from tests.legacy.made import ADAPTER, MODULE, bare
from tests.legacy.old_hash import router_hash, worker_hash, worker_text
from tests.legacy.old_model import stub, take_on

BERT = {"adapter_path": "sie_server.adapters.bert_flash:BertAdapter", "max_batch_tokens": 8192}
PAGE = yaml.safe_load(bare("intfloat/multilingual-e5-base"))
APPENDED = {
    "sie_id": "intfloat/multilingual-e5-base",
    "profiles": {
        "default": {
            "adapter_path": "sie_server.adapters.sentence_transformer:SentenceTransformerAdapter",
            "max_batch_tokens": 8192,
        },
        "medical": {
            "extends": "default",
            "adapter_options": {"runtime": {"instruction": "Retrieve medical literature"}},
        },
    },
}


def models(*documents: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {one["sie_id"]: one for one in documents}


def test_the_bytes_that_are_hashed() -> None:
    known = models({"sie_id": "test/model", "profiles": {"default": BERT}})
    assert worker_text(known) == (
        '[{"profiles":[{"config":{"adapter_options":null,"adapter_path":"sie_server.adapters.bert_flash:BertAdapter",'
        '"compute_precision":null,"max_batch_tokens":8192},"name":"default"}],"sie_id":"test/model"}]'
    )


@pytest.mark.parametrize(
    ("document", "golden"),
    [
        (
            {"sie_id": "test/model", "profiles": {"default": BERT}},
            "c5d236ee93add8a0a6cbb6fa3a29069879e82b9ffbb6c987f3387982c9572748",
        ),
        (PAGE, "918f71cf1be893ffb64ad78efb49f24a1194097f4d7c3b109beee76d8c28a5cd"),
        (APPENDED, "4504de49d60c12953501073a333ea8bede8d4542b677e2ff417ea64bf650ab81"),
        (stub(APPENDED), "415a92b5de1a86827123d11ce71ab3962351fc8ef9865585e6ae3e85a07c30c7"),
    ],
    ids=["one profile", "the page's example", "the page's append", "its stub"],
)
def test_what_an_old_worker_hashes(document: Mapping[str, Any], golden: str) -> None:
    assert worker_hash(models(document)) == golden


@pytest.mark.parametrize(
    ("document", "golden"),
    [
        (
            {"sie_id": "test/model", "profiles": {"default": BERT}},
            "c5d236ee93add8a0a6cbb6fa3a29069879e82b9ffbb6c987f3387982c9572748",
        ),
        (PAGE, "918f71cf1be893ffb64ad78efb49f24a1194097f4d7c3b109beee76d8c28a5cd"),
        (APPENDED, "0a06daf6a6f2dba6b4482584966a01b18f2bf452ff1150afd421da3281184073"),
    ],
    ids=["one profile", "the page's example", "the page's append"],
)
def test_what_an_old_router_hashes(document: Mapping[str, Any], golden: str) -> None:
    assert router_hash(models(document), [MODULE, "sie_server.adapters.bert_flash"]) == golden


def test_nothing_hashes_to_nothing() -> None:
    assert (worker_hash({}), router_hash({}, []), bundle_config_hash([])) == ("", "", "")


def test_a_router_leaves_out_profiles_of_other_bundles_and_a_worker_keeps_them() -> None:
    document = {"sie_id": "a/b", "profiles": {"default": BERT, "other": {**BERT, "adapter_path": "x.y:Z"}}}
    only = {"sie_id": "a/b", "profiles": {"default": BERT}}
    assert router_hash(models(document), ["sie_server.adapters.bert_flash"]) == worker_hash(models(only))
    assert worker_hash(models(document)) != worker_hash(models(only))


def test_the_page_as_posted_becomes_a_stub_and_with_its_tasks_it_does_not() -> None:
    assert take_on(json.dumps(PAGE)) == stub(PAGE)
    whole = {**PAGE, "hf_id": "a/b", "tasks": {"encode": {"dense": {"dim": 4}}}}
    assert take_on(json.dumps(whole)) == whole


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Lone surrogates are no text that YAML or JSON could carry.
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("aé\x7f😀_", max_size=4), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50)
@given(options=st.fixed_dictionaries({}, optional={"runtime": st.dictionaries(st.text("ab", min_size=1), VALUES)}))
def test_this_projects_hash_is_an_old_workers_whatever_the_options(options: dict[str, Any]) -> None:
    given_settings = Settings()
    catalog, _ = load_catalog(given_settings)
    profile = {"adapter_path": ADAPTER, "max_batch_tokens": 8192, "adapter_options": options}
    document = {"sie_id": "a/b", "profiles": {"default": profile}}
    limits = ChangeLimits.of(given_settings)
    change = read_change(json.dumps(document).encode(), limits)
    verdict = judge(catalog, change, limits)
    entry: Entry = draft(verdict, write_id="", time="", router_id="", body_hash="").placed(1)
    catalog.apply(entry)
    model = catalog.find("a/b")
    assert model is not None
    assert bundle_config_hash([model]) == worker_hash(models(document))

"""Digests: v0.1.10's own test vectors as literal bytes."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from sie.catalog.change import read_model
from sie.catalog.digest import BundleSums, bundle_config_hash
from sie.catalog.document import write_document
from sie.catalog.model import Model
from tests.pages import APPEND, FIRST

ONE_MODEL = (
    '[{"profiles":[{"config":{"adapter_options":null,"adapter_path":"sie_server.adapters.bert_flash:BertAdapter",'
    '"compute_precision":null,"max_batch_tokens":8192},"name":"default"}],"sie_id":"test/model"}]'
)
FIRST_EXAMPLE = (
    '[{"profiles":[{"config":{"adapter_options":{"loadtime":{},"runtime":{"normalize":true,"pooling":"mean"}},'
    '"adapter_path":"sie_server.adapters.sentence_transformer:SentenceTransformerAdapter","compute_precision":null,'
    '"max_batch_tokens":8192},"name":"default"}],"sie_id":"intfloat/multilingual-e5-base"}]'
)


def model(sie_id: str, **default: Any) -> Model:
    return read_model(write_document({"sie_id": sie_id, "profiles": {"default": default}}).encode(), name=sie_id)


BERT = model("test/model", adapter_path="sie_server.adapters.bert_flash:BertAdapter", max_batch_tokens=8192)


@pytest.mark.parametrize(
    ("one", "text", "digest"),
    [
        (BERT, ONE_MODEL, "c5d236ee93add8a0a6cbb6fa3a29069879e82b9ffbb6c987f3387982c9572748"),
        (
            read_model(FIRST, name="first"),
            FIRST_EXAMPLE,
            "918f71cf1be893ffb64ad78efb49f24a1194097f4d7c3b109beee76d8c28a5cd",
        ),
    ],
)
def test_the_hash_is_that_of_v0_1_10s_worker(one: Model, text: str, digest: str) -> None:
    assert hashlib.sha256(text.encode()).hexdigest() == digest
    assert bundle_config_hash([one]) == digest


def test_the_append_example_hashes_as_a_worker_with_the_full_schema_does() -> None:
    expected = "4504de49d60c12953501073a333ea8bede8d4542b677e2ff417ea64bf650ab81"
    assert bundle_config_hash([read_model(APPEND, name="append")]) == expected


def test_no_models_hash_to_nothing_and_order_does_not_matter() -> None:
    assert bundle_config_hash([]) == ""
    first, second = model("A/b", adapter_path="a:B"), model("a/a", adapter_path="a:B")
    assert bundle_config_hash([first, second]) == bundle_config_hash([second, first])


def test_what_is_not_ascii_is_escaped_as_v0_1_10_escapes_it() -> None:
    odd = model("a/b", adapter_path="a:B", adapter_options={"runtime": {"x": "é\x7f😀", "y": 1e-05}})
    text = (
        '[{"profiles":[{"config":{"adapter_options":{"loadtime":{},"runtime":{"x":"\\u00e9\\u007f\\ud83d\\ude00",'
        '"y":1e-05}},"adapter_path":"a:B","compute_precision":null,"max_batch_tokens":null},"name":"default"}],'
        '"sie_id":"a/b"}]'
    )
    assert bundle_config_hash([odd]) == hashlib.sha256(text.encode()).hexdigest()


def test_our_digest_is_the_sum_of_the_models_hashes() -> None:
    sums = BundleSums(["x", "y"])
    assert sums.digest("x") == "0" * 64
    other = model("a/b", adapter_path="a:B")
    sums.put(BERT, ("x",))
    sums.put(other, ("x", "y"))
    numbers = [int(hashlib.sha256(one.canonical).hexdigest(), 16) for one in (BERT, other)]
    assert sums.digest("x") == f"{sum(numbers) % 2**256:064x}"
    assert sums.digest("y") == f"{numbers[1]:064x}"
    sums.put(other, ())
    assert sums.digest("x") == f"{numbers[0]:064x}"
    assert sums.digest("y") == "0" * 64
    with pytest.raises(KeyError):
        sums.digest("z")

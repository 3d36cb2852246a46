"""What the properties of this folder found, each as the smallest request that shows it."""

from __future__ import annotations

from typing import Any

import pytest

from sie.errors import InvalidInput
from sie.wire.inference import EncodeRequest, Item
from sie.worker.options import read_encode
from tests.catalog.made import DENSE, catalog
from tests.fuzz.strategies import post


@pytest.mark.parametrize(
    ("options", "instruction"),
    [({"output_dtype": 0}, None), ({"output_types": False}, None), ({"instruction": 5}, "search: ")],
    ids=str,
)
def test_an_option_of_the_wrong_type_is_refused(options: dict[str, Any], instruction: str | None) -> None:
    """`POST /v1/encode/org/a {"items": [{"text": "x"}], "params": {"options": {"output_dtype": 0}}}` was a 200.

    Options were looked at where they had an effect, and 0 was taken for absent.
    """
    made = catalog()
    post(made, {"sie_id": "org/a", "profiles": {"default": {"adapter_path": DENSE}}})
    request = EncodeRequest(items=[Item("x")], options=options, instruction=instruction)
    with pytest.raises(InvalidInput):
        read_encode(made.models()[0], None, request)

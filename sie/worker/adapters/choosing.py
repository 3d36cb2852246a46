"""Which backend runs a transformer: eager torch, or one that has shown torch's numbers first."""

from __future__ import annotations

import logging
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import truediv
from typing import Any

import torch

from sie.errors import ModelLoadFailed
from sie.worker.adapters.backend import Backend, Features, Unfit
from sie.worker.adapters.contract import LoadOrder
from sie.worker.adapters.onednn import is_fit, pack
from sie.worker.adapters.onnx import open_graph

log = logging.getLogger("sie.worker.adapters")

# The most that a vector may differ, by the length of torch's: their cosine is then above 0.99999.
DISTANCE_MOST = 0.004
# A race ends with the round in which this is over; one round is enough for a model so large.
RACE_S = 2.0
RACE_ROUNDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a backend has to do before it is trusted: `checks` for its numbers, `races` for its speed.

    The last check has several rows of different lengths. `brief` are checks of a few tokens.
    """

    brief: Sequence[Features]
    checks: Sequence[Features]
    races: Sequence[Features]


@torch.inference_mode()
def choose_backend(order: LoadOrder, transformer: Any, trial: Trial) -> Backend | None:
    """The backend that `order` names, or the quickest; None for eager torch. One log line says what it came to.

    One that cannot be had here, or whose numbers are not torch's, is not taken, and the log says why. Raises
    ModelLoadFailed for a name that none has. Takes seconds, where a graph or a kernel is to be made up to minutes.
    """
    if order.backend == "torch" or (order.backend == "onednn" and not is_fit(order)):
        return None  # onednn is the setting's default: that it is for CPUs alone is not worth a line at each load
    if order.backend == "auto":
        return _quickest(order, transformer, trial)
    if order.backend not in _MAKE:
        choices = ", ".join(["torch", *_MAKE, "auto"])
        raise ModelLoadFailed(f"adapter_options.loadtime.backend: {order.backend!r} is not one of {choices}")
    try:
        backend, distance = _made(order.backend, order, transformer, trial)
    except Unfit as unfit:
        log.warning("backend %s is not used, torch is: %s", order.backend, unfit)
        return None
    log.info("backend %s: at most %.1e from torch's vectors", backend.name, distance)
    return backend


def _quickest(order: LoadOrder, transformer: Any, trial: Trial) -> Backend | None:
    """The quickest of torch and those that suit the device.

    On a CPU compiling is not one of them: it takes a minute of all cores at every first load, and gains less.
    """
    backends = [Backend("torch", _eager(transformer), 0)]
    unused = []
    for name in ("onednn", "onnx") if torch.device(order.device).type == "cpu" else ("compile",):
        try:
            backends.append(_made(name, order, transformer, trial)[0])
        except Unfit as unfit:
            unused.append(f"; {name} cannot be used: {unfit}")
    took = _race(backends, trial.races) if len(backends) > 1 else {"torch": [1.0]}
    shapes = ", ".join("x".join(map(str, features["input_ids"].shape)) for features in trial.races)
    # What a load is like is not known here, so each shape counts as much as any other, not by the seconds it takes.
    shares = {name: statistics.geometric_mean(map(truediv, times, took["torch"])) for name, times in took.items()}
    chosen = min(backends, key=lambda backend: shares[backend.name])
    measured = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    log.info("backend auto: %s; time over %s by torch's: %s%s", chosen.name, shapes, measured, "".join(unused))
    return None if chosen.name == "torch" else chosen


def _made(name: str, order: LoadOrder, transformer: Any, trial: Trial) -> tuple[Backend, float]:
    """The backend and its greatest distance from torch. Raises Unfit, whatever happens: eager torch always works."""
    if not hasattr(transformer, "module_output_name"):  # sentence-transformers has it from 6 on
        raise Unfit(f"{type(transformer).__name__} is no transformer that this can replace")
    if getattr(transformer.model.config, "output_hidden_states", False):
        raise Unfit("the model's other modules read every layer of the transformer")
    eager = _eager(transformer)
    # A linear layer is the same whatever the length; the default is not to hold up a large model's load by seconds.
    checks = trial.brief if name == "onednn" else trial.checks
    try:
        backend = _MAKE[name](order, transformer, trial)
        distance = max(_distance(eager(check), backend.forward(check), check) for check in checks)
    except Unfit:
        raise
    except Exception as fault:
        log.debug("backend %s", name, exc_info=fault)
        raise Unfit(f"{type(fault).__name__}: {(str(fault).strip().splitlines() or [''])[0][:200]}") from fault
    if not distance <= DISTANCE_MOST:  # nor is NaN
        raise Unfit(f"its vectors are not torch's: {distance:.2g} of their length away, {DISTANCE_MOST} is the most")
    return backend, distance


def _eager(transformer: Any) -> Callable[[Features], torch.Tensor]:
    """The transformer as it is; it adds to the features it is given, so it is given a copy."""
    return lambda features: transformer(dict(features))[transformer.module_output_name]


def _distance(expected: torch.Tensor, got: torch.Tensor, features: Features) -> float:
    """How far from each vector, by its length, the other is; the greatest. What stands for padding does not count."""
    if expected.shape != got.shape:
        return math.inf
    if expected.ndim == 3:
        mask = features["attention_mask"].bool()
        expected, got = expected[mask], got[mask]
    lengths = expected.float().norm(dim=-1)
    if expected.shape[-1] == 1:
        lengths = lengths.max()  # a number has no direction, and one near zero is as good as zero
    return float(((expected.float() - got.float()).norm(dim=-1) / lengths.clamp(min=1e-9)).max())


def _race(backends: Sequence[Backend], races: Sequence[Features]) -> Mapping[str, Sequence[float]]:
    """The best seconds of each for each of `races`, run in turn."""
    best = {backend.name: [math.inf] * len(races) for backend in backends}
    over = time.perf_counter() + RACE_S
    for _ in range(RACE_ROUNDS):
        for at, features in enumerate(races):
            for backend in backends:
                began = time.perf_counter()
                backend.forward(features)
                if features["input_ids"].is_cuda:
                    torch.cuda.synchronize()
                best[backend.name][at] = min(best[backend.name][at], time.perf_counter() - began)
        if time.perf_counter() > over:
            break
    return best


def _onnx(order: LoadOrder, transformer: Any, trial: Trial) -> Backend:
    return open_graph(order, transformer, trial.checks[-1])


def _compile(order: LoadOrder, transformer: Any, trial: Trial) -> Backend:
    """What there is not to compile with is told by the first run. The weights stay torch's."""
    tensors = [*transformer.parameters(), *transformer.buffers()]
    forward = torch.compile(_eager(transformer), dynamic=True)
    return Backend("compile", forward, sum(tensor.numel() * tensor.element_size() for tensor in tensors))


def _onednn(order: LoadOrder, transformer: Any, trial: Trial) -> Backend:
    return pack(order, transformer)


_MAKE: Mapping[str, Callable[[LoadOrder, Any, Trial], Backend]] = {
    "onednn": _onednn,
    "onnx": _onnx,
    "compile": _compile,
}

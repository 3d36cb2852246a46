"""Many seeds, on several cores, until one breaks a guarantee."""

from __future__ import annotations

import concurrent.futures
import gc
import itertools
import multiprocessing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from sie.testing.simulation.run import run
from sie.testing.simulation.schedule import draw

_CHUNK = 25  # seeds that a process tries before it tells


@dataclass(frozen=True, slots=True)
class Found:
    """`tried`: seeds so far. `seed`: one that breaks `guarantee`; None while there is none."""

    tried: int
    seed: int | None = None
    guarantee: str = ""


def search(first: int, count: int, *, jobs: int, prepare: Callable[[], object] | None = None) -> Found:
    """Try `count` seeds from `first` on. `prepare` is called once in each process: a test plants a fault with it.

    With several jobs, the seed that is found need not be the lowest.
    """
    chunks = (range(one, min(one + _CHUNK, first + count)) for one in range(first, first + count, _CHUNK))
    # Forked from a server that has no threads, whose locks a fork would take along, and has imported everything.
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload([__name__])
    tried = 0
    processes = partial(concurrent.futures.ProcessPoolExecutor, jobs, mp_context=forking)
    with processes(initializer=_begin, initargs=(prepare,)) as pool:
        for found in _results(pool, chunks, jobs):
            tried += found.tried
            if found.seed is not None:
                pool.shutdown(wait=False, cancel_futures=True)
                return Found(tried, found.seed, found.guarantee)
    return Found(tried)


def _results(pool: concurrent.futures.Executor, chunks: Iterator[range], jobs: int) -> Iterator[Found]:
    waiting = {pool.submit(try_some, one) for one in itertools.islice(chunks, 2 * jobs)}
    while waiting:
        done, waiting = concurrent.futures.wait(waiting, return_when=concurrent.futures.FIRST_COMPLETED)
        waiting |= {pool.submit(try_some, one) for one in itertools.islice(chunks, len(done))}
        for one in done:
            yield one.result()


def _begin(prepare: Callable[[], object] | None) -> None:
    if prepare is not None:
        prepare()
    # What every run shares is there for good, and a run is short: looking for garbage all the time is a sixth of it.
    run(draw(0))
    gc.collect()
    gc.freeze()
    gc.disable()


def try_some(seeds: range) -> Found:
    """In this process, one after the other."""
    try:
        for tried, seed in enumerate(seeds, 1):
            if broken := run(draw(seed)).broken:
                return Found(tried, seed, broken[0][0])
        return Found(len(seeds))
    finally:
        gc.collect()

"""Stop a coroutine, or a whole process, at each of its steps in turn, and look at what is left.

    await cancel_at_every_step(world)    a request vanishes: is what is promised about being cancelled true everywhere?
    await crash_at_every_step(world)     a process dies: is what it left whole, and enough to start again on?

A step is what a task does from being resumed to its next suspension; a stop comes right before one. A thread takes no
steps (`trio.to_thread`): the stop comes before it or after it, and what it has begun it finishes.

Each round has a fresh world. For one seed the order in which tasks run is the same in every round, as far as neither
threads nor sockets have a say in it, so that the rounds are all the prefixes of one history; other seeds, others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar, cast

import trio

from sie.testing.scheduling import same_order

T = TypeVar("T")

_TRIO = str(Path(trio.__file__).parent)


class StepFailed(AssertionError):
    """A promise was broken: the message says by a stop at which step, where the task stood, and how to repeat it."""


class Crashed(BaseException):
    """What a process that is dead gets for an answer from whatever outlives it. No handler of its own may catch it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What became of one.

    `step`: before which the stop came, from 0; in the last round, which is not stopped, how many there were. `where`:
    the innermost line, outside of Trio, of the task that was stopped, "" in the last round. `finished`: it came to its
    end all the same, with `value`.
    """

    step: int
    where: str
    finished: bool
    value: object = None

    @property
    def stopped(self) -> bool:
        return bool(self.where)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """`act` is cancelled somewhere; then `check` raises if a promise is broken. An error out of `act` breaks one."""

    act: Callable[[], Awaitable[object]]
    check: Callable[[Round], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordeal:
    """`live` is a process from its start to its end, and crashes somewhere; then `judge` raises if all is not well.

    What a process does to anything that outlives it goes through `Life.edge`, or it would go on after the crash.
    """

    live: Callable[[Life], Awaitable[object]]
    judge: Callable[[Round], Awaitable[None]]


class Life:
    """One life of a process: all that `Ordeal.live` starts, and nothing else."""

    def __init__(self) -> None:
        self.over = False
        self.scope = trio.CancelScope()

    def crash(self) -> None:
        """Everything of it stops, and from this instant on it has no effect: what clean-up does reaches no edge."""
        self.over = True
        self.scope.cancel(reason="the process crashed")

    def edge(self, outside: T) -> T:
        """The same as the process has it: while it lives, every call goes through; after that each raises Crashed."""
        return cast("T", _Edge(outside, self))


# Counted are the steps of the cancelled task alone, or of every task: a cancel while it waits, and others go on.
Whose: TypeAlias = Literal["own", "all"]
CancelWorld: TypeAlias = Callable[[], AbstractAsyncContextManager[Trial]]
CrashWorld: TypeAlias = Callable[[], AbstractAsyncContextManager[Ordeal]]


async def cancel_at_every_step(world: CancelWorld, *, whose: Whose = "all", seed: int = 0, most: int = 5000) -> int:
    """Cancel `act` at step 0, at step 1, and so on, each time in a new world, until it ends before its step comes.

    Returns how many steps there were. Raises StepFailed at the first broken promise, or if there are more than `most`.
    Cancelled: the round under way is left as any block is.
    """

    async def play(stop: _Stop) -> None:
        async with _unwrapped(world()) as trial:
            await trial.check(await _cancelled(trial.act, stop, whose))

    return await _every_step(play, "cancelled", seed, most)


async def crash_at_every_step(world: CrashWorld, *, seed: int = 0, most: int = 5000) -> int:
    """Let `live` crash at step 0, at step 1, and so on, whichever of its tasks is to run then, each time in a new
    world, until it ends before its step comes. Returns, raises and is cancelled as `cancel_at_every_step`.
    """

    async def play(stop: _Stop) -> None:
        async with _unwrapped(world()) as ordeal:
            await ordeal.judge(await _lived(ordeal.live, stop))

    return await _every_step(play, "crashed", seed, most)


async def _every_step(play: Callable[[_Stop], Awaitable[None]], what: str, seed: int, most: int) -> int:
    for step in range(most):
        stop = _Stop(step)
        try:
            with same_order(seed):
                await play(stop)
        except Exception as fault:
            how = f"{what} at step {step}, at {stop.where}" if stop.where else f"not {what}, in {stop.seen} steps"
            raise StepFailed(f"{how} (seed {seed}): {_said(fault)}") from fault
        if not stop.where:
            return step
    raise StepFailed(f"not at its end after {most} steps")


async def _cancelled(act: Callable[[], Awaitable[object]], stop: _Stop, whose: Whose) -> Round:
    task, finished, value = trio.lowlevel.current_task(), False, None
    with trio.CancelScope() as scope:

        def cancel(_: trio.lowlevel.Task) -> trio.lowlevel.Task:
            scope.cancel(reason=f"step {stop.step}")
            return task

        with stop.before(lambda one: whose == "all" or one is task, cancel):
            value = await act()
        finished = True
    return Round(step=stop.seen, where=stop.where, finished=finished, value=value)


async def _lived(live: Callable[[Life], Awaitable[object]], stop: _Stop) -> Round:
    life, finished = Life(), False
    fault: Exception | None = None

    def crash(task: trio.lowlevel.Task) -> trio.lowlevel.Task:
        life.crash()
        return task

    async def process() -> None:
        nonlocal finished, fault
        root = trio.lowlevel.current_task()
        with stop.before(lambda one: _descends(one, root), crash), life.scope:
            try:
                await live(life)
                finished = not life.over
            except Exception as error:
                fault = error
            except (BaseExceptionGroup, Crashed):
                if not life.over:
                    raise

    async with trio.open_nursery() as nursery:  # noqa: ASYNC112 -- a task of its own: its world's is no part of it
        nursery.start_soon(process)
    if fault is not None and not life.over:  # what a dead process says last, nobody hears
        raise fault
    return Round(step=stop.seen, where=stop.where, finished=finished)


class _Stop(trio.abc.Instrument):
    """Does something once, right before the nth step of those tasks that count."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.seen = 0
        self.where = ""
        self._counts: Callable[[trio.lowlevel.Task], bool]
        self._stop: Callable[[trio.lowlevel.Task], trio.lowlevel.Task]

    @contextmanager
    def before(
        self,
        counts: Callable[[trio.lowlevel.Task], bool],
        stop: Callable[[trio.lowlevel.Task], trio.lowlevel.Task],
    ) -> Iterator[None]:
        """`stop` is told whose step it is, and says whose place is to be named."""
        self._counts, self._stop = counts, stop
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.where or not self._counts(task):
            return
        if self.seen == self.step:
            self.where = _place(self._stop(task))
        else:
            self.seen += 1


class _Edge:
    def __init__(self, outside: object, life: Life) -> None:
        self._outside = outside
        self._life = life

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._outside, name)
        if not callable(found):
            return found

        def call(*given: Any, **named: Any) -> Any:
            if self._life.over:
                raise Crashed(f"{name} after the crash")
            return found(*given, **named)

        return call


def _descends(task: trio.lowlevel.Task, root: trio.lowlevel.Task) -> bool:
    one: trio.lowlevel.Task | None = task
    while one is not None and one is not root:
        one = one.parent_nursery.parent_task if one.parent_nursery is not None else None
    return one is root


def _place(task: trio.lowlevel.Task) -> str:
    """The innermost line that is not Trio's own; else what of Trio's was called."""
    lines = [(frame.f_code, line) for frame, line in task.iter_await_frames()]
    while any(code.co_filename == __file__ for code, _ in lines[:-1]):
        del lines[0]  # down to what is tried out
    theirs = [one for one in lines if not one[0].co_filename.startswith(_TRIO)]
    code, line = theirs[-1] if theirs else lines[0]
    return f"{code.co_filename}:{line} in {code.co_name}"


def _said(fault: Exception) -> str:
    if isinstance(fault, ExceptionGroup):
        return "; ".join(_said(one) for one in fault.exceptions)
    return f"{type(fault).__name__}: {fault}"


@asynccontextmanager
async def _unwrapped(context: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    """The context, out of which an error of the block comes as it is, whatever nurseries are in between."""
    fault: Exception | None = None
    async with context as inside:
        try:
            yield inside
        except Exception as error:
            fault = error
    if fault is not None:
        raise fault

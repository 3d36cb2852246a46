"""The in-process bus: hints arrive, and whoever cannot keep up is told to read the truth."""

from __future__ import annotations

import trio

from sie.bus.contract import Notice, Nudge
from sie.bus.local import LocalBus
from sie.catalog.entry import Entry


def notice(revision: int, *bundles: str) -> Notice:
    entry = Entry(model_id="a/b", profiles={}, fields={}, write_id="w", time="t", router_id="r", revision=revision)
    return Notice(store="s", entry=entry, previous=dict.fromkeys(bundles, revision - 1))


async def test_only_followers_of_a_touched_bundle_hear_of_an_entry() -> None:
    bus = LocalBus()
    with bus.follow("default") as mine, bus.follow("other") as other:
        await bus.publish(notice(1, "default"))
        assert mine.receive_nowait() == notice(1, "default")
        assert other.statistics().current_buffer_used == 0


async def test_a_follower_that_falls_behind_ends_with_a_nudge_and_never_blocks_the_publisher() -> None:
    bus = LocalBus()
    with bus.follow("default") as hints:
        with trio.fail_after(5):
            for revision in range(1, 3000):
                await bus.publish(notice(revision, "default"))
        heard = [hints.receive_nowait() for _ in range(hints.statistics().current_buffer_used)]
    assert isinstance(heard[-1], Nudge)


async def test_a_follower_that_has_left_is_forgotten() -> None:
    bus = LocalBus()
    with bus.follow("default"):
        pass
    await bus.publish(notice(1, "default"))
    bus.nudge()

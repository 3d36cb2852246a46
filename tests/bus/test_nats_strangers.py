"""Others on the same subjects: hostile ones, older ones, and changes too large to be said."""

from __future__ import annotations

import json

import pytest
import trio

from sie.bus.contract import Elsewhere, Notice
from sie.bus.nats import NatsBus
from sie.catalog.entry import write_entry
from sie.wire.notification import LegacyNotification
from sie.wire.sync import SyncRequest
from sie.worker.follow import CaughtUp
from tests.bus.made import (
    PATIENCE_S,
    answering,
    connected,
    next_elsewhere,
    next_notice,
    notice,
    settings_for,
    wait_nudged,
)
from tests.bus.natsserver import NatsServer, Stranger

SUBJECT = "sie.config.models.default"
ALL = "sie.config.models._all"


def message(one: Notice, **changed: object) -> dict[str, object]:
    """What a router would say of it without a key."""
    return {
        "model_id": one.entry.model_id,
        "profiles_added": list(one.entry.profiles),
        "epoch": 7,
        "router_id": "mallory",
        "model_config": "sie_id: org/model\n",
        "bundle_config_hash": "",
        "store": one.store,
        "previous": one.previous["default"],
        "entry": write_entry(one.entry).decode(),
        **changed,
    }


LEGACY: dict[str, object] = {
    "model_id": "org/old",
    "profiles_added": ["default"],
    "epoch": 3,
    "router_id": "router-old-1",
    "model_config": "sie_id: org/old\nprofiles: {default: {adapter_path: 'a.b:C'}}\n",
    "bundle_config_hash": "abc",
}


async def test_v0_1_10s_keys_stand_in_every_message_and_the_bundles_come_before_all(shared_nats: NatsServer) -> None:
    async with connected(settings_for(shared_nats)) as bus, Stranger(shared_nats) as ear:
        await ear.listen("sie.config.models.*")
        await bus.publish(notice(5, "default", "other"))
        heard = [await ear.hear() for _ in range(3)]
    assert [subject.rpartition(".")[2] for subject, _, _ in heard] == ["default", "other", "_all"]
    said = [json.loads(content) for _, _, content in heard]
    common = {
        "model_id": "org/model",
        "profiles_added": ["p5"],
        "epoch": 105,
        "router_id": "router-1",
        "model_config": "sie_id: org/model\n",
        "store": "store-1",
        "entry": write_entry(notice(5, "default").entry).decode(),
        "revision": 5,
    }
    assert said == [
        {**common, "bundle_config_hash": "hash of default", "previous": 4},
        {**common, "bundle_config_hash": "hash of other", "previous": 4},
        {**common, "affected_bundles": ["default", "other"], "previous": {"default": 4, "other": 4}},
    ]


async def test_a_router_hears_the_others_and_not_itself(shared_nats: NatsServer) -> None:
    settings = settings_for(shared_nats)
    async with connected(settings) as one, connected(settings, name="router-2") as two:
        with one.follow_all() as hints:
            await wait_nudged(hints)
            await one.publish(notice(1, "default"))
            await two.publish(notice(2, "default", "other"))
            heard = await next_notice(hints)
            assert heard == notice(2, "default", "other")


async def test_what_a_router_of_v0_1_10_says_comes_apart_and_nobody_else_sees_it(shared_nats: NatsServer) -> None:
    async with connected(settings_for(shared_nats)) as bus, Stranger(shared_nats) as old:
        with bus.follow("default") as hints, bus.follow_legacy("default") as legacy, bus.follow_legacy() as to_all:
            for _ in range(2):  # once for each that listens to the subject
                await wait_nudged(hints)
                await wait_nudged(legacy)
            await wait_nudged(to_all)
            await old.say(SUBJECT, LEGACY)
            await old.say(ALL, {**LEGACY, "affected_bundles": ["default"]})
            await bus.publish(notice(1, "default"))
            with trio.fail_after(PATIENCE_S):
                heard = [await legacy.receive(), await to_all.receive()]
            assert (await next_notice(hints)).entry.revision == 1
    wanted = LegacyNotification(
        router_id="router-old-1",
        model_id="org/old",
        profiles_added=("default",),
        epoch=3,
        model_config=str(LEGACY["model_config"]),
    )
    assert heard == [wanted, wanted]


GARBAGE: list[bytes | dict[str, object]] = [
    b"",
    b"\xff\xfe",
    b"[]",
    b"null",
    b'{"model_id":',
    b"[" * 100_000,
    {},
    {**LEGACY, "epoch": "3"},
    {**LEGACY, "epoch": True},
    {**LEGACY, "model_config": None},
    {**LEGACY, "model_id": "../../etc"},
    message(notice(9, "default"), entry="{}"),
    message(notice(9, "default"), entry=json.dumps(json.loads(write_entry(notice(9, "default").entry)), indent=1)),
    message(notice(9, "default"), model_id="org/other"),
    message(notice(9, "default"), profiles_added=["p9", "p8"]),
    message(notice(9, "default"), previous=10),
    message(notice(9, "default"), previous="8"),
    message(notice(9, "default"), previous={"default": 8}),
    message(notice(9, "default"), store=""),
    message(notice(9, "default"), store=5),
    message(notice(0, "default")),
    b"x" * 600_000,
]


async def test_what_is_no_message_of_ours_is_counted_named_once_and_changes_nothing(
    shared_nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    settings = settings_for(shared_nats, nats_message_bytes=500_000)
    async with connected(settings) as bus, Stranger(shared_nats) as mallory:
        with bus.follow("default") as hints:
            await wait_nudged(hints)
            for said in GARBAGE:
                await mallory.say(SUBJECT, said)
            await bus.publish(notice(1, "default"))
            assert isinstance(first := await hints.receive(), Notice)
            assert first.entry.revision == 1
        ignored = bus.statistics().ignored
    assert sum(ignored.values()) == len(GARBAGE)
    assert ignored["oversized"] == 1
    assert ignored["contradictory"] == 3
    assert "unforeseen" not in ignored
    told = [record.getMessage() for record in caplog.records if "ignored what" in record.getMessage()]
    assert sorted(one.split()[2] for one in told) == ["mallory", "router-old-1", "unknown"]


async def test_a_crowd_of_invented_senders_does_not_fill_the_log(
    shared_nats: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with connected(settings_for(shared_nats)) as bus, Stranger(shared_nats) as mallory:
        with bus.follow("default") as hints:
            await wait_nudged(hints)
            for number in range(150):
                await mallory.say(SUBJECT, {**LEGACY, "epoch": None, "router_id": f"evil\n{number}"})
            await bus.publish(notice(1, "default"))
            await next_notice(hints)
    assert bus.statistics().ignored == {"malformed": 150}
    told = [record.getMessage() for record in caplog.records if "ignored what" in record.getMessage()]
    assert len(told) == 100
    assert not any("\n" in one for one in told)


@pytest.mark.parametrize("header", [b"X", b"NATS/1.0", b"\xff\xfe\xfd", b"NATS/1.0 \xff\xff\xff\r\n\r\n"])
async def test_a_broken_header_or_subject_does_not_end_the_connection(shared_nats: NatsServer, header: bytes) -> None:
    async with connected(settings_for(shared_nats)) as bus, Stranger(shared_nats) as mallory:
        with bus.follow("default") as hints, trio.CancelScope() as serving:
            await wait_nudged(hints)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answering, bus, nobody)
                await mallory.say_with_header(SUBJECT, header, b"hi")
                await mallory.say(b"sie.config.sync.\xff", b"hi", reply="_INBOX.x")
                await bus.publish(notice(1, "default"))
                assert (await next_notice(hints)).entry.revision == 1
                serving.cancel(reason="done")
        assert bus.connection.count == 1


async def nobody(_: SyncRequest) -> CaughtUp:
    raise AssertionError("nobody has asked")


async def refused_by(bus: NatsBus, stranger: Stranger, subject: str, said: list[dict[str, object]]) -> None:
    """None of these is heard, and all are counted as forged."""
    with bus.follow("default") as hints, bus.follow_all() as to_all, bus.follow_legacy("default") as legacy:
        for each in (hints, hints, to_all):  # once for each that listens to the subject
            await wait_nudged(each)
        for _ in range(2):
            await wait_nudged(legacy)
        for one in said:
            await stranger.say(subject, one)
        await bus.publish(notice(100, "default"))
        assert isinstance(first := await hints.receive(), Notice)
        assert first.entry.revision == 100
        assert to_all.statistics().current_buffer_used == legacy.statistics().current_buffer_used == 0
    assert bus.statistics().ignored == {"forged": len(said)}


async def test_with_a_key_nothing_that_a_stranger_says_has_any_effect(shared_nats: NatsServer) -> None:
    said = [
        message(notice(9, "default")),
        message(notice(9, "default"), hmac="0" * 64),
        message(notice(9, "default"), hmac="é"),
        message(notice(9, "default"), hmac=None),
        message(notice(9, "default"), hmac=5),
        LEGACY,
        {**LEGACY, "store": "store-1", "revision": 9},
    ]
    async with connected(settings_for(shared_nats, bus_key="k")) as bus, Stranger(shared_nats) as mallory:
        await refused_by(bus, mallory, SUBJECT, said)


async def test_with_a_key_a_true_message_changed_or_said_elsewhere_has_no_effect(shared_nats: NatsServer) -> None:
    settings = settings_for(shared_nats, bus_key="k")
    async with connected(settings) as bus, Stranger(shared_nats) as mallory:
        await mallory.listen("sie.config.models.other")
        await bus.publish(notice(9, "other"))
        true = json.loads((await mallory.hear())[2])
        changed = [true] + [{**true, key: value} for key, value in (("epoch", 0), ("previous", 1), ("more", {}))]
        await refused_by(bus, mallory, SUBJECT, changed)


async def test_processes_of_one_key_understand_each_other_and_those_of_another_do_not(shared_nats: NatsServer) -> None:
    async with (
        connected(settings_for(shared_nats, bus_key="ключ"), name="a") as one,
        connected(settings_for(shared_nats, bus_key="ключ"), name="b") as same,
        connected(settings_for(shared_nats, bus_key="k2"), name="c") as other,
    ):
        with same.follow("default") as hints, other.follow("default") as unheard:
            await wait_nudged(hints)
            await wait_nudged(unheard)
            await one.publish(notice(1, "default"))
            assert (await next_notice(hints)).entry.revision == 1
            await other.publish(notice(2, "default"))
            assert (await next_notice(unheard)).entry.revision == 2
    assert other.statistics().ignored == {"forged": 1}


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_change_above_the_servers_limit_goes_without_content_and_followers_look(key: str | None) -> None:
    with NatsServer("max_payload: 2048") as server:
        async with connected(settings_for(server, bus_key=key)) as bus, Stranger(server) as ear:
            await ear.listen("sie.config.models.*")
            with bus.follow("default") as hints:
                await wait_nudged(hints)
                await bus.publish(notice(1, "default", options="x" * 3000))
                assert await next_elsewhere(hints) == Elsewhere("store-1", 1)
                said = json.loads((await ear.hear())[2])
                assert said["model_id"] == "org/model"
                assert "entry" not in said
                assert "model_config" not in said
                await bus.publish(notice(2, "default"))
                assert (await next_notice(hints)).entry.revision == 2

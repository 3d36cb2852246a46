"""Those who use the simulated cluster: they post, read, infer and watch, and write down what they met."""

from __future__ import annotations

import json
from collections.abc import Sequence

import trio

from sie.catalog.change import ChangeLimits, read_change
from sie.settings import Settings
from sie.testing.simulation.router import Reply, SimulatedRouter
from sie.testing.simulation.schedule import Ask, Post, Stores, Watch
from sie.testing.simulation.watcher import Watcher
from sie.testing.simulation.world import World
from spec import history

_LIMITS = ChangeLimits.of(Settings())
_AGAIN_S = 0.3  # before a client tries again, jittered
_PATIENCE_S = 20.0
_NONE = Reply(0)  # no answer


class Clients:
    """`routers`: by number, as each lives now. `restore`: they read their stores when they begin."""

    def __init__(self, world: World, routers: Sequence[SimulatedRouter], *, stores: Stores, restore: bool) -> None:
        self._world = world
        self._routers = routers
        self._restore = restore
        self._stores = stores
        self._chance = world.chance("clients")
        self._newest = 0  # the highest revision that any client was told
        self._watchers = 0

    async def post(self, action: Post) -> None:
        """Until it is certain what became of it, as often as the action has it."""
        body = document(action)
        profiles = {name: one.canonical.decode() for name, one in read_change(body, _LIMITS).profiles.items()}
        router = action.router
        for attempt in range(action.again + 1):
            asked, begin, to = self._routers[router], self._world.now, self._called(router)
            reply = await asked.ask(lambda one: one.post(body, action.key or None), patience_s=action.patience_s)
            said, status = (reply or _NONE).body, (reply or _NONE).status
            if status in (200, 201) and not asked.writes_to(said["store"]):
                to = asked.life.name  # what it has from others it knows until its end
            self._world.seen.append(
                history.Post(
                    begin=begin,
                    end=self._world.now if reply is not None else None,
                    client=f"client-{attempt}",
                    to=to,
                    model=action.model,
                    profiles=profiles,
                    key=self._key(action.key, router),
                    status=status,
                    unknown=said.get("outcome") == "unknown",
                    created=said.get("created_profiles", ()),
                    revision=said.get("config_revision", 0),
                    store=said.get("store", ""),
                    acked=said.get("acked_workers", 0),
                    pending=said.get("worker_ack_pending", True),
                    bundles=said.get("routable_bundles_by_profile", {}),
                )
            )
            if status in (200, 201):
                self._newest = max(self._newest, said["config_revision"])
            if 200 <= status < 500:
                return
            await self._pause()
            router = self._chance.randrange(len(self._routers))

    async def read(self, action: Ask) -> None:
        """The model's config, from a router that knows what any client was told."""
        begin, to, at_least = (
            self._world.now,
            self._called(action.router),
            self._newest if self._stores == "shared" else 0,
        )
        reply = await self._routers[action.router].ask(
            lambda one: one.show(action.model, at_least), patience_s=_PATIENCE_S
        )
        self._world.seen.append(
            history.Read(
                begin=begin,
                end=self._world.now if reply is not None else None,
                to=to,
                model=action.model,
                at_least=at_least,
                status=(reply or _NONE).status,
                profiles=reply.body if reply is not None and reply.status == 200 else None,
            )
        )

    async def infer(self, action: Ask) -> None:
        """With the model, by a profile."""
        begin, to = self._world.now, self._called(action.router)
        reply = await self._routers[action.router].ask(
            lambda one: one.infer(action.model, action.profile), patience_s=_PATIENCE_S
        )
        if reply is not None:
            self._world.seen.append(
                history.Served(
                    begin=begin,
                    end=self._world.now,
                    to=to,
                    model=action.model,
                    profile=action.profile,
                    status=reply.status,
                    worker=reply.worker,
                    content=reply.content,
                )
            )

    async def watch(self, action: Watch) -> None:
        """One router, in each of its lives, until cancelled."""
        self._watchers += 1
        watcher = Watcher(f"watcher-{self._watchers}", f"router-{action.router}", self._world)
        while True:
            router = self._routers[action.router]
            if router.plane is not None and router.life.alive:
                await watcher.follow(router.plane.watch, router.life)
            await self._pause()

    async def _pause(self) -> None:
        await trio.sleep(_AGAIN_S * self._chance.uniform(0.5, 1.5))

    def _called(self, router: int) -> str:
        """One that has no store to read at its start knows nothing of what it knew before: it is another one."""
        lasts = self._restore and self._stores != "memory"
        return f"router-{router}" if lasts else self._routers[router].life.name

    def _key(self, key: str, router: int) -> str:
        """An Idempotency-Key is known to those who have the store it was used on; elsewhere it is another one."""
        if not key or self._stores == "shared":
            return key
        return f"{key} of {self._routers[router].life.name if self._stores == 'memory' else router}"


def document(post: Post) -> bytes:
    """What a client sends."""
    profiles = {
        name: {
            **({"extends": how.partition(":")[2]} if how.startswith("extends:") else {"adapter_path": how}),
            "max_batch_tokens": 8192 + number,
        }
        for name, how, number in post.profiles
    }
    return json.dumps({"sie_id": post.model, "profiles": profiles}).encode()

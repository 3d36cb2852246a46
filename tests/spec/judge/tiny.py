"""A cluster of a few lines that does everything right, and the history of a run of it, chosen by chance.

One log; routers and workers that know a beginning of it each; POSTs that are under way, take effect or not, and are
answered or not. Profiles whose names begin with `b` run in bundle `b`, those with `c` in bundle `c`.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from spec.history import Event, Holds, Listing, Post, Read, Served, Settled, Stands, Watched, Watching

CONTENTS = ("one", "two")
Models = Mapping[str, Mapping[str, str]]


@dataclass
class _Order:
    """A POST under way. `answer`: what it will be told, if it is; None: nothing was done yet."""

    post: Post
    answer: Post | None = None


@dataclass
class _Worker:
    name: str
    bundle: str
    known: int = 0  # how much of the log
    has: dict[tuple[str, str], str] = field(default_factory=dict)


@dataclass
class _Ear:
    name: str
    at: int  # the revision it was told of last


class TinyCluster:
    """`history` grows with each step; `run` makes a whole one."""

    def __init__(self, chance: random.Random) -> None:
        self.history: list[Event] = []
        self._chance = chance
        self._origin = chance.choice((0, 0, 70))
        self._log: list[tuple[str, Mapping[str, str]]] = []
        self._keys: dict[tuple[str, str, frozenset[tuple[str, str]]], Post] = {}
        self._orders: list[_Order] = []
        self._routers = {"r1": 0, "r2": 0}
        self._workers = [_Worker("w1", "b"), _Worker("w2", "b"), _Worker("w3", "c")]
        self._ears: dict[str, _Ear] = {}
        self._now = 0.0

    def run(self, steps: int) -> Sequence[Event]:
        doings = [
            *(self._post, self._do, self._answer, self._catch_up, self._watch) * 2,
            *(self._read, self._serve, self._list_store),
        ]
        for _ in range(steps):
            self._now += self._chance.choice((0.0, 0.5, 1.0))
            self._chance.choice(doings)()
        self._end()
        return self.history

    # -- what there is

    @property
    def _head(self) -> int:
        return self._origin + len(self._log)

    def _models(self, known: int) -> Models:
        models: dict[str, dict[str, str]] = {}
        for model, profiles in self._log[:known]:
            models.setdefault(model, {}).update(profiles)
        return models

    def _part(self, bundle: str, known: int) -> Models:
        """The models that a bundle can run something of, whole."""
        models = self._models(known)
        return {one: profiles for one, profiles in models.items() if any(name[0] == bundle for name in profiles)}

    def _touched(self, bundle: str, known: int) -> int:
        """The newest revision that changed a bundle's part."""
        part = self._part(bundle, known)
        touching = [number for number, (model, _) in enumerate(self._log[:known], 1) if model in part]
        return self._origin + touching[-1] if touching else self._origin

    # -- what clients do

    def _post(self) -> None:
        names = self._chance.sample(("b1", "b2", "c1"), self._chance.choice((1, 1, 2)))
        post = Post(
            begin=self._now,
            to=self._chance.choice(list(self._routers)),
            model=self._chance.choice(("m", "n")),
            profiles={name: self._chance.choice((*CONTENTS[:1], *CONTENTS)) for name in names},
            key=self._chance.choice(("", "", "key")),
        )
        self._orders.append(_Order(post))

    def _do(self) -> None:
        waiting = [one for one in self._orders if one.answer is None]
        if waiting:
            order = self._chance.choice(waiting)
            order.answer = self._judged(order.post)

    def _judged(self, post: Post) -> Post:
        """Its answer, and what it changes."""
        if self._chance.random() < 0.1:
            return replace(post, status=503)
        who = (post.key, post.model, frozenset(post.profiles.items()))
        if post.key and any(known[0] == post.key and known != who for known in self._keys):
            return replace(post, status=422)
        if post.key and who in self._keys:
            return replace(self._keys[who], begin=post.begin, to=post.to)
        existing = self._models(len(self._log)).get(post.model, {})
        if any(existing.get(name, content) != content for name, content in post.profiles.items()):
            return replace(post, status=409)
        created = {name: content for name, content in post.profiles.items() if name not in existing}
        if created:
            self._log.append((post.model, created))
        self._routers[post.to] = len(self._log)
        bundles = {name: (name[0],) for name in created}
        answer = replace(
            post,
            status=201 if created else 200,
            created=tuple(created),
            revision=self._head,
            store="S",
            bundles=bundles,
        )
        if post.key and created:
            self._keys[who] = answer
        return answer

    def _answer(self) -> None:
        if not self._orders:
            return
        order = self._orders.pop(self._chance.randrange(len(self._orders)))
        post, answer = order.post, order.answer
        if answer is None:  # hung up, and it never happens
            self.history.append(post)
        elif answer.status != 409 and self._chance.random() < 0.1:
            self.history.append(replace(post, end=self._now, status=503, unknown=True))
        elif self._chance.random() < 0.1:
            self.history.append(post)
        elif answer.accepted:
            keys = {(post.model, name) for name in answer.created or post.profiles}
            having = [one for one in self._workers if keys <= one.has.keys()]
            wanted = {bundle for bundles in answer.bundles.values() for bundle in bundles}
            self.history.append(
                replace(
                    answer,
                    end=self._now,
                    acked=self._chance.randint(0, len(having)),
                    pending=not wanted <= {one.bundle for one in having},
                )
            )
        else:
            self.history.append(replace(answer, end=self._now))

    def _read(self) -> None:
        router = self._chance.choice(list(self._routers))
        known = self._routers[router]
        model = self._chance.choice(("m", "n"))
        found = self._models(known).get(model)
        self.history.append(
            Read(
                begin=self._now,
                end=self._now,
                to=router,
                model=model,
                at_least=self._chance.choice((0, self._origin + known)),
                status=404 if found is None else 200,
                profiles=found,
            )
        )

    def _serve(self) -> None:
        worker = self._chance.choice(self._workers)
        for (model, profile), content in worker.has.items():
            self.history.append(
                Served(
                    begin=self._now,
                    end=self._now,
                    to="r1",
                    model=model,
                    profile=profile,
                    status=200,
                    worker=worker.name,
                    content=content,
                )
            )
            return

    # -- what others see

    def _catch_up(self) -> None:
        router = self._chance.choice(list(self._routers))
        self._routers[router] = self._chance.randint(self._routers[router], len(self._log))
        worker = self._chance.choice(self._workers)
        self._move(worker, self._chance.randint(worker.known, len(self._log)))

    def _move(self, worker: _Worker, known: int) -> None:
        worker.known = known
        part = self._part(worker.bundle, known)
        for model, profiles in part.items():
            for profile, content in profiles.items():
                if (model, profile) not in worker.has:
                    worker.has[model, profile] = content
                    self.history.append(
                        Holds(
                            at=self._now,
                            worker=worker.name,
                            bundle=worker.bundle,
                            model=model,
                            profile=profile,
                            content=content,
                        )
                    )
        self.history.append(
            Stands(
                at=self._now,
                worker=worker.name,
                bundle=worker.bundle,
                store="S",
                revision=self._touched(worker.bundle, known),
                digest=_digest(part),
                ready=True,
            )
        )

    def _watch(self) -> None:
        name = self._chance.choice(("ear", "eye"))
        ear = self._ears.get(name)
        if ear is None or self._chance.random() < 0.1:
            since = self._chance.randint(self._origin, self._head) if ear is None else ear.at
            self._ears[name] = _Ear(name, since)
            self.history.append(Watching(at=self._now, watcher=name, to="r1", store="S", since=since))
        elif ear.at < self._head:
            model, profiles = self._log[ear.at - self._origin]
            ear.at += 1
            self.history.append(
                Watched(at=self._now, watcher=name, store="S", revision=ear.at, model=model, profiles=profiles)
            )
        else:
            self.history.append(Watched(at=self._now, watcher=name, store="S", revision=ear.at))

    def _list_store(self) -> None:
        self.history.append(
            Listing(
                at=self._now,
                who="the store",
                role="store",
                models=self._models(len(self._log)),
                store="S",
                revision=self._head if self._log else 0,
                entries=tuple(
                    (number, model, tuple(profiles))
                    for number, (model, profiles) in enumerate(self._log, self._origin + 1)
                ),
                heads={
                    bundle: (self._touched(bundle, len(self._log)), _digest(self._part(bundle, len(self._log))))
                    for bundle in "bc"
                },
            )
        )

    def _end(self) -> None:
        self._now += 1
        self.history += [order.post for order in self._orders]
        for worker in self._workers:
            self._move(worker, len(self._log))
        self.history.append(Settled(at=self._now))
        self._list_store()
        models = self._models(len(self._log))
        for router in self._routers:
            self.history.append(
                Listing(at=self._now, who=router, role="router", models=models, store="S", revision=self._head)
            )
        for worker in self._workers:
            part = self._part(worker.bundle, len(self._log))
            self.history.append(
                Listing(
                    at=self._now,
                    who=worker.name,
                    role="worker",
                    models=part,
                    bundle=worker.bundle,
                    store="S",
                    revision=self._touched(worker.bundle, len(self._log)),
                    digest=_digest(part),
                )
            )


def _digest(part: Models) -> str:
    return repr({model: sorted(profiles.items()) for model, profiles in sorted(part.items())})

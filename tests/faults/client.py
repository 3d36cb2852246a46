"""Who posts to a cluster while it fails: uniquely numbered documents, and a history of all that was done and seen."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import yaml

from sie.catalog.canonical import canonical
from spec.history import About, Event, Post, Read
from tests.faults.cluster import Cluster, Part
from tests.test_cluster import MODELS, document

_FLASH = "    adapter_path: sie_server.adapters.bert_flash:BertFlashAdapter\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one POST met. `status` 0: no answer at all, the connection broke or was silent for too long."""

    number: int
    model: str
    profile: str  # the one this number is about
    router: str
    status: int
    code: str = ""  # of an error
    unknown: bool = False  # the error says `"outcome": "unknown"`
    created: tuple[str, ...] = ()
    acked: int = 0
    pending: bool = False  # a bundle is left of which no worker has confirmed
    warnings: tuple[str, ...] = ()
    revision: int = 0
    took_s: float = 0.0

    @property
    def accepted(self) -> bool:
        return self.status in {200, 201}

    @property
    def refused(self) -> bool:
        """Nothing of it may be anywhere."""
        return self.status >= 400 and not self.unknown


class Client:
    """Posts document after document to routers chosen by chance. `name`: keeps its models apart from other clients'.

    `history`: what it did, what others saw of its models, and what `verdict.judge` found in the end. Any thread may add
    to it.
    """

    def __init__(self, cluster: Cluster, *, name: str = "client", seed: int | None = None) -> None:
        self.seed = random.randrange(10**6) if seed is None else seed
        print(f"{name}: seed {self.seed}")
        self.chance = random.Random(self.seed)
        self.answers: list[Answer] = []
        self.name = name
        self.history: list[Event] = [About(source=f"tests/faults, {name}, seed {self.seed}", holds=False)]
        self._cluster = cluster
        self._numbers = itertools.count()

    def document(self, number: int) -> tuple[str, str, str]:
        """Model, profile, text. Two in three are appends to the same five models, half of those of another adapter."""
        if number % 3 == 0:
            model = f"{self.name}/own-{number}"
            return model, "default", document(model)
        model, profile = f"{self.name}/shared-{number % 5}", f"p{number}"
        more = "    extends: default\n" if number % 3 == 1 else _FLASH
        return model, profile, f"{document(model)}  {profile}:\n{more}"

    def post(
        self, router: Part | None = None, *, number: int | None = None, key: str | None = None, timeout_s: float = 30
    ) -> Answer:
        """Post the next document, or one again, and keep the answer. `key`: its Idempotency-Key."""
        number = next(self._numbers) if number is None else number
        router = router if router is not None else self.chance.choice(self._cluster.routers)
        model, profile, text = self.document(number)
        headers = {} if key is None else {"Idempotency-Key": key}
        began = time.monotonic()
        ended: float | None = None
        said: Mapping[str, Any] = {}
        try:
            reply = httpx.post(router.address + MODELS, content=text, headers=headers, timeout=timeout_s)
        except httpx.TransportError as fault:
            status, code = 0, repr(fault)
        else:
            said, ended = reply.json(), time.monotonic()
            status, code = reply.status_code, said.get("error", "")
        answer = Answer(
            number=number,
            model=model,
            profile=profile,
            router=router.address,
            status=status,
            code=code,
            unknown=said.get("outcome") == "unknown",
            created=tuple(said.get("created_profiles", ())),
            acked=said.get("acked_workers", 0),
            pending=said.get("worker_ack_pending", False),
            warnings=tuple(said.get("warnings", ())),
            revision=said.get("config_revision", 0),
            took_s=time.monotonic() - began,
        )
        self.history.append(
            Post(
                begin=began,
                end=ended,
                client=self.name,
                to=router.address,
                model=model,
                profiles=contents(yaml.safe_load(text)["profiles"]),
                key=key or "",
                status=status,
                unknown=answer.unknown,
                created=answer.created,
                revision=answer.revision,
                acked=answer.acked,
                pending=answer.pending,
                bundles=said.get("routable_bundles_by_profile", {}),
            )
        )
        self.answers.append(answer)
        return answer

    def read_back(self, answer: Answer) -> None:
        """Ask any router for what was accepted, with its revision: it is seen, or not yet to be had."""
        router = self.chance.choice(self._cluster.routers)
        url, began = f"{router.address}/v1/models/{answer.model}", time.monotonic()
        try:
            reply = httpx.get(url, headers={"X-SIE-Min-Revision": str(answer.revision)}, timeout=10)
        except httpx.TransportError:
            return
        found = reply.json()["profiles"] if reply.status_code == 200 else None
        self.history.append(
            Read(
                begin=began,
                end=time.monotonic(),
                client=self.name,
                to=router.address,
                model=answer.model,
                at_least=answer.revision,
                status=reply.status_code,
                profiles=None if found is None else dict.fromkeys(found, ""),
            )
        )

    @contextmanager
    def stream(self, *, clients: int = 3, every_s: float = 0.05) -> Iterator[None]:
        """Post steadily from so many threads while the block runs; leaves when the last of them has its answer."""

        def post_on(over: threading.Event) -> None:
            while not over.wait(every_s):
                answer = self.post()
                if answer.accepted and self.chance.random() < 0.2:
                    self.read_back(answer)

        with in_threads(post_on, clients):
            yield


def contents(profiles: Mapping[str, Any]) -> Mapping[str, str]:
    """Each profile as the text that a history compares."""
    return {name: canonical(content).decode() for name, content in profiles.items()}


@contextmanager
def in_threads(work: Callable[[threading.Event], None], count: int) -> Iterator[None]:
    """Do it in so many threads while the block runs, and on until each is done; the event says that the block is over.

    What one of them raised fails the block.
    """
    over = threading.Event()
    failed: list[BaseException] = []

    def kept() -> None:
        try:
            work(over)
        except BaseException as fault:
            failed.append(fault)
            raise

    threads = [threading.Thread(target=kept) for _ in range(count)]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join()
    assert not failed, failed

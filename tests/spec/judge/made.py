"""Events for histories made by hand: one store `S`, one model `m`, one bundle `b`, unless said otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spec.history import Holds, Listing, Post, Read, Served, Settled, Stands, Watched, Watching

A, B = '{"max_batch_tokens":1}', '{"max_batch_tokens":2}'
P: Mapping[str, str] = {"p": A}


def created(begin: float, revision: int = 1, profiles: Mapping[str, str] = P, **more: Any) -> Post:
    """Answered a second later, 201."""
    return answered(begin, 201, **{"profiles": profiles, "created": tuple(profiles), "revision": revision, **more})


def unchanged(begin: float, revision: int = 1, profiles: Mapping[str, str] = P, **more: Any) -> Post:
    """Answered a second later, 200."""
    return answered(begin, 200, **{"profiles": profiles, "revision": revision, **more})


def refused(begin: float, status: int = 503, **more: Any) -> Post:
    """Answered a second later, with an error that says that nothing was changed."""
    return answered(begin, status, **{"profiles": P, **more})


def unknown(begin: float, profiles: Mapping[str, str] = P, **more: Any) -> Post:
    """Answered a second later, with an error that says that nobody can tell."""
    return answered(begin, 503, **{"profiles": profiles, "unknown": True, **more})


def lost(begin: float, profiles: Mapping[str, str] = P, **more: Any) -> Post:
    """Never answered."""
    return Post(**{"begin": begin, "to": "r1", "model": "m", "profiles": profiles, **more})


def answered(begin: float, status: int, **more: Any) -> Post:
    store = "S" if status < 400 else ""
    return Post(
        **{"begin": begin, "end": begin + 1, "to": "r1", "model": "m", "status": status, "store": store, **more}
    )


def store(at: float, profiles: Mapping[str, str] = P, **more: Any) -> Listing:
    """Each profile by an entry of its own, in this order."""
    entries = tuple((number, "m", (profile,)) for number, profile in enumerate(profiles, 1))
    given = {"entries": entries, "revision": len(entries), **more}
    return listing(at, "store", "the store", profiles, **given)


def router(at: float, profiles: Mapping[str, str] = P, who: str = "r1", **more: Any) -> Listing:
    return listing(at, "router", who, profiles, **more)


def worker(at: float, profiles: Mapping[str, str] = P, who: str = "w1", **more: Any) -> Listing:
    return listing(at, "worker", who, profiles, **{"bundle": "b", "revision": len(profiles), "digest": "d", **more})


def listing(at: float, role: str, who: str, profiles: Mapping[str, str], **more: Any) -> Listing:
    models = {"m": profiles} if profiles else {}
    return Listing(**{"at": at, "who": who, "role": role, "models": models, "store": "S", **more})


def read(begin: float, at_least: int, profiles: Mapping[str, str] | None, **more: Any) -> Read:
    """Of the other router; None: it answers that there is no such model."""
    given = {"to": "r2", "model": "m", "status": 404 if profiles is None else 200, "profiles": profiles, **more}
    return Read(**{"begin": begin, "end": begin + 1, "at_least": at_least, **given})


def served(begin: float, content: str = A, who: str = "w1", **more: Any) -> Served:
    given = {"to": "r1", "model": "m", "profile": "p", "status": 200, "worker": who, "content": content, **more}
    return Served(**{"begin": begin, "end": begin + 1, **given})


def holds(at: float, content: str = A, who: str = "w1", **more: Any) -> Holds:
    return Holds(**{"at": at, "worker": who, "bundle": "b", "model": "m", "profile": "p", "content": content, **more})


def stands(at: float, revision: int, who: str = "w1", **more: Any) -> Stands:
    given = {"bundle": "b", "store": "S", "revision": revision, "digest": f"d{revision}", "ready": True, **more}
    return Stands(**{"at": at, "worker": who, **given})


def watching(at: float, since: int = 0, **more: Any) -> Watching:
    return Watching(**{"at": at, "watcher": "ear", "to": "r1", "store": "S", "since": since, **more})


def told(at: float, revision: int, profiles: Mapping[str, str] | None = None, **more: Any) -> Watched:
    """Of an entry that made profile `p` and its number, unless told otherwise."""
    profiles = {f"p{revision}": A} if profiles is None else profiles
    return Watched(
        **{"at": at, "watcher": "ear", "store": "S", "revision": revision, "model": "m", "profiles": profiles, **more}
    )


def bookmark(at: float, revision: int) -> Watched:
    return Watched(at=at, watcher="ear", store="S", revision=revision)


def settled(at: float = 10, excused: Sequence[str] = ()) -> Settled:
    return Settled(at=at, excused=excused)

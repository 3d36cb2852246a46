"""What can be made wrong in a right run, so that it can always be seen; None where a run has nothing of the kind."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from spec.history import Event, Holds, Listing, Post, Read, Served, Settled, Stands, Watched
from tests.spec.judge import watch_mutations
from tests.spec.judge.changing import Mutated, Mutation, changed, changed_all


def _accepted(history: Sequence[Event]) -> list[Post]:
    return [one for one in history if isinstance(one, Post) and one.accepted]


def _listings(history: Sequence[Event], role: str) -> list[Listing]:
    return [one for one in history if isinstance(one, Listing) and one.role == role]


def _without(listing: Listing, model: str, profile: str) -> Listing:
    kept = {name: content for name, content in listing.models[model].items() if name != profile}
    return replace(listing, models={**listing.models, model: kept})


def _drop_accepted(role: str) -> Callable[[Sequence[Event], random.Random], Mutated]:
    def drop(history: Sequence[Event], chance: random.Random) -> Mutated:
        final = [one for one in _listings(history, role) if history.index(one) > _settled(history)]
        pairs = [
            (listing, _without(listing, post.model, profile))
            for listing in final
            for post in _accepted(history)
            for profile in (post.created if role == "worker" else post.profiles)
            if role != "worker" or listing.bundle in post.bundles[profile]
        ]
        return changed(history, chance, pairs)

    return drop


def _settled(history: Sequence[Event]) -> int:
    return next(number for number, one in enumerate(history) if isinstance(one, Settled))


def _drop_unaccepted(history: Sequence[Event], chance: random.Random) -> Mutated:
    """What nobody was told of is lost at one router."""
    told = {(post.model, profile) for post in _accepted(history) for profile in post.profiles}
    pairs = [
        (listing, _without(listing, model, profile))
        for listing in _listings(history, "router")
        for model, profiles in listing.models.items()
        for profile in profiles
        if (model, profile) not in told
    ]
    return changed(history, chance, pairs)


def _change_content(history: Sequence[Event], chance: random.Random) -> Mutated:
    """Of one sighting; the final listings are others."""
    pairs: list[tuple[Event, Event]] = []
    for one in history:
        if isinstance(one, Listing) and one.models:
            model = chance.choice(list(one.models))
            profile = chance.choice(list(one.models[model]))
            wrong = {**one.models[model], profile: "changed"}
            pairs.append((one, replace(one, models={**one.models, model: wrong})))
        elif isinstance(one, Read | Watched) and one.profiles:
            pairs.append((one, replace(one, profiles={**one.profiles, next(iter(one.profiles)): "changed"})))
        elif isinstance(one, Holds | Served):
            pairs.append((one, replace(one, content="changed")))
    return changed(history, chance, pairs)


def _refuse(history: Sequence[Event], chance: random.Random) -> Mutated:
    """Call refused the only POST that can have created what is there."""
    posts = [one for one in history if isinstance(one, Post)]
    pairs = [
        (post, replace(post, status=503, created=(), revision=0, acked=0))
        for post in _accepted(history)
        if any(
            sum(other.model == post.model and other.profiles.get(name) == content for other in posts) == 1
            for name, content in post.profiles.items()
        )
    ]
    return changed(history, chance, pairs)


def _claim(history: Sequence[Event], chance: random.Random) -> Mutated:
    """Tell another that it created what somebody else was told to have."""
    accepted = _accepted(history)
    creators = {(post.model, profile): post for post in accepted for profile in post.created}
    pairs = [
        (post, replace(post, status=201, created=(*post.created, profile)))
        for post in accepted
        for profile in post.profiles
        if profile not in post.created and (post.model, profile) in creators
    ]
    return changed(history, chance, pairs)


def _other_number(history: Sequence[Event], chance: random.Random) -> Mutated:
    """Say of an entry that it has a number of the log that is not its own."""
    numbers = [number for listing in _listings(history, "store")[-1:] for number, _, _ in listing.entries]
    pairs = [
        (post, replace(post, revision=number))
        for post in _accepted(history)
        for number in numbers
        if post.created and number != post.revision
    ]
    return changed(history, chance, pairs)


def _log(history: Sequence[Event], chance: random.Random, change: Callable[[list[int]], None]) -> Mutated:
    """The numbers of the last log changed."""
    last = _listings(history, "store")[-1]
    numbers = [number for number, _, _ in last.entries]
    if len(numbers) < 2:
        return None
    change(numbers)
    entries = tuple((number, *entry[1:]) for number, entry in zip(numbers, last.entries, strict=True))
    return changed_all(history, (last, (replace(last, entries=entries),)))


def _gap_in_log(history: Sequence[Event], chance: random.Random) -> Mutated:
    def skip(numbers: list[int]) -> None:
        numbers[-1] += 1

    return _log(history, chance, skip)


def _swap_in_log(history: Sequence[Event], chance: random.Random) -> Mutated:
    def swap(numbers: list[int]) -> None:
        numbers[-2:] = reversed(numbers[-2:])

    return _log(history, chance, swap)


def _too_early(history: Sequence[Event], chance: random.Random) -> Mutated:
    """Say that all was there before anything was."""
    first = min((one.begin for one in history if isinstance(one, Post)), default=0.0)
    pairs = [
        (post, replace(post, begin=first - 2, end=first - 1, status=200, created=(), revision=0, acked=0, key=""))
        for post in _accepted(history)
    ]
    return changed(history, chance, pairs)


def _unreal_conflict(history: Sequence[Event], chance: random.Random) -> Mutated:
    """Refuse as a conflict what is there as it is."""
    pairs = [
        (post, (post, replace(post, begin=post.begin, status=409, created=(), revision=0, acked=0, key="")))
        for post in _accepted(history)
    ]
    return changed_all(history, chance.choice(pairs)) if pairs else None


def _stale_read(history: Sequence[Event], chance: random.Random) -> Mutated:
    pairs = [
        (one, replace(one, profiles={name: one.profiles[name] for name in one.profiles if name != profile}))
        for one in history
        if isinstance(one, Read) and one.profiles and one.at_least
        for post in _accepted(history)
        if post.model == one.model and post.revision <= one.at_least
        for profile in post.profiles
    ]
    return changed(history, chance, pairs)


def _more_acks(history: Sequence[Event], chance: random.Random) -> Mutated:
    return changed(history, chance, [(post, replace(post, acked=4)) for post in _accepted(history)])


def _nothing_pending(history: Sequence[Event], chance: random.Random) -> Mutated:
    return changed(
        history, chance, [(post, replace(post, pending=False)) for post in _accepted(history) if _waits(history, post)]
    )


def _waits(history: Sequence[Event], post: Post) -> bool:
    """No worker that can run it has a profile that it created."""
    having = {
        one.bundle
        for one in history
        if isinstance(one, Holds) and post.end is not None and one.at <= post.end and one.model == post.model
    }
    return any(bundle not in having for bundles in post.bundles.values() for bundle in bundles)


def _never_held(history: Sequence[Event], chance: random.Random) -> Mutated:
    """A worker has not got what was created in its bundle, and says in the end that it stands beyond."""
    created = {
        (post.model, profile, bundle)
        for post in _accepted(history)
        for profile in post.created
        for bundle in post.bundles[profile]
    }
    held = [one for one in history if isinstance(one, Holds) and (one.model, one.profile, one.bundle) in created]
    return changed_all(history, (chance.choice(held), ())) if held else None


def _other_digest(history: Sequence[Event], chance: random.Random) -> Mutated:
    stands = [one for one in history if isinstance(one, Stands) and one.worker == "w1"]
    return changed(history, chance, [(one, replace(one, digest="other")) for one in stands[-1:]])


def _served_without(history: Sequence[Event], chance: random.Random) -> Mutated:
    """Answered by a worker that nobody ever told anything."""
    served = [one for one in history if isinstance(one, Served)]
    return changed(history, chance, [(one, replace(one, worker="w9")) for one in served])


def _not_found(history: Sequence[Event], chance: random.Random) -> Mutated:
    posts = [post for post in _accepted(history) if post.end is not None]
    if not posts:
        return None
    post = chance.choice(posts)
    assert post.end is not None
    begin, profile = post.end + 0.1, next(iter(post.profiles))
    asked = Served(begin=begin, end=begin, to=post.to, model=post.model, profile=profile, status=404)
    return [*history, asked]


def _behind(history: Sequence[Event], chance: random.Random) -> Mutated:
    listings = [*_listings(history, "worker"), *_listings(history, "router")]
    return changed(history, chance, [(one, replace(one, revision=one.revision + 1)) for one in listings if one.models])


MUTATIONS: Mapping[str, Mutation] = {
    "the store loses what was accepted": Mutation("no-accepted-write-lost", _drop_accepted("store")),
    "a router loses what was accepted": Mutation("no-accepted-write-lost", _drop_accepted("router")),
    "a worker loses what was accepted": Mutation("no-accepted-write-lost", _drop_accepted("worker")),
    "a router loses what nobody was told of": Mutation("everything-converges", _drop_unaccepted),
    "somebody stands elsewhere in the end": Mutation("everything-converges", _behind),
    "somebody sees another content": Mutation("one-content-per-profile", _change_content),
    "what was refused is there": Mutation("no-ghosts", _refuse),
    "two create it": Mutation("created-exactly-once", _claim),
    "an answer names another's number": Mutation("created-exactly-once", _other_number),
    "the log has a gap": Mutation("created-exactly-once", _gap_in_log),
    "the log goes back": Mutation("created-exactly-once", _swap_in_log),
    "it is called there before anybody created it": Mutation("skipped-was-there", _too_early),
    "what is the same is called a conflict": Mutation("conflicts-are-real", _unreal_conflict),
    "a read does not see a write": Mutation("read-your-writes", _stale_read),
    "a watcher is told in another order": Mutation("watch-ordered", watch_mutations.swap),
    "a watcher is told twice": Mutation("watch-unique", watch_mutations.double),
    "a watcher is not told": Mutation("watch-gap-free", watch_mutations.drop),
    "a watcher that came back is not told": Mutation("watch-resumable", watch_mutations.drop_after_return),
    "a watcher is told otherwise": Mutation("watch-tells-the-log", watch_mutations.tell_otherwise),
    "more are said to have acked than did": Mutation("acks-tell-the-truth", _more_acks),
    "nothing is said to be pending": Mutation("acks-tell-the-truth", _nothing_pending),
    "a worker says that it has what it has not": Mutation("acks-tell-the-truth", _never_held),
    "a worker shows another digest": Mutation("acks-tell-the-truth", _other_digest),
    "who has it not serves it": Mutation("traffic-is-gated", _served_without),
    "who accepted it does not know it": Mutation("traffic-is-gated", _not_found),
}

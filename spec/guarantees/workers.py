"""What is said of workers, and what they then have."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

from spec.evidence import Evidence, Finding, Key
from spec.history import Post, Served, Stands

_NEVER = math.inf


def acks_tell_the_truth(evidence: Evidence) -> Iterator[Finding]:
    """As many workers as an answer says had by then come to have what it says was created; of each bundle that can run
    it, one, where nothing is pending. A worker has what was created up to where it says it stands, and two that say
    they stand at one revision of one store, for one bundle, show one digest. Where two stores dispute a profile, those
    who follow both have the other's."""
    if evidence.holds:
        for post in evidence.posts:
            if post.accepted and (post.acked or not post.pending):
                yield from _acks_are_true(evidence, post)
        yield from _standing_is_true(evidence)
    if evidence.one_store:
        yield from _digests_agree(evidence)


def _acks_are_true(evidence: Evidence, post: Post) -> Iterator[Finding]:
    assert post.end is not None, "what was answered has ended"
    keys = [(post.model, profile) for profile in post.created or post.profiles]
    keys = [key for key in keys if not evidence.traces[key].base and not _disputed(evidence, key)]
    if not keys:
        return
    workers = [
        worker for worker, held in evidence.held.items() if all(held.get(key, _NEVER) <= post.end for key in keys)
    ]
    if len(workers) < post.acked:
        yield f"{post.acked} workers are said to have {post.model}, and {len(workers)} had it", (post,)
    if not post.pending:
        bundles = {evidence.bundle_of[worker] for worker in workers}
        lacking = {bundle for some in post.bundles.values() for bundle in some} - bundles
        if lacking:
            yield f"nothing is pending, and no worker of {', '.join(sorted(lacking))} had {post.model}", (post,)


def _standing_is_true(evidence: Evidence) -> Iterator[Finding]:
    created: dict[tuple[str, str], list[tuple[int, Key, Post]]] = defaultdict(list)  # by (store, bundle)
    for key, trace in evidence.traces.items():
        for post in () if _disputed(evidence, key) else trace.creators:
            for bundle in post.bundles.get(key[1], ()):
                created[evidence.store(post.store), bundle].append((post.revision, key, post))
    for due in created.values():
        due.sort(key=lambda one: one[0])
    done: dict[tuple[str, str], int] = defaultdict(int)  # by (worker, store): how many of those it was asked for
    for one in evidence.stands:
        due = created.get((evidence.store(one.store), one.bundle), [])
        held = evidence.held.get(one.worker, {})
        at = done[one.worker, one.store]
        while at < len(due) and due[at][0] <= one.revision:
            _, (model, profile), post = due[at]
            if held.get((model, profile), _NEVER) > one.at:
                yield f"{one.worker} says it knows {one.revision} and has no {model} {profile}", (post, one)
            at += 1
        done[one.worker, one.store] = at


def _disputed(evidence: Evidence, key: Key) -> bool:
    return not evidence.one_store and evidence.traces[key].disputed


def _digests_agree(evidence: Evidence) -> Iterator[Finding]:
    shown: dict[tuple[str, str, int], Stands] = {}
    for one in evidence.stands:
        if one.ready and one.digest and one.store:
            other = shown.setdefault((one.store, one.bundle, one.revision), one)
            if other.digest != one.digest:
                yield f"two digests of {one.bundle} at {one.revision}", (other, one)


def traffic_is_gated(evidence: Evidence) -> Iterator[Finding]:
    """The worker that a router sends a request for a profile to has it by then, and a router that accepted a profile
    does not call it unknown to a request that begins after its answer."""
    accepted: dict[tuple[str, Key], tuple[float, Post]] = {}  # by router: the first answer
    for post in evidence.posts:
        if post.accepted and post.end is not None and (evidence.one_store or post.store in evidence.lasting):
            for profile in post.profiles:
                place = post.to, (post.model, profile)
                if post.end < accepted.get(place, (_NEVER, post))[0]:
                    accepted[place] = post.end, post
    for one in evidence.served:
        key = one.model, one.profile
        yield from _had_it(evidence, one, key)
        if one.status == 404 and (one.to, key) in accepted:
            end, post = accepted[one.to, key]
            if end < one.begin:
                yield f"{one.to} accepted {one.model} {one.profile} and does not know it", (post, one)


def _had_it(evidence: Evidence, one: Served, key: Key) -> Iterator[Finding]:
    if not evidence.holds or not one.worker or one.end is None or evidence.traces[key].base:
        return
    if evidence.held.get(one.worker, {}).get(key, _NEVER) > one.end:
        yield f"{one.worker} was asked for {one.model} {one.profile} and did not have it", (one,)

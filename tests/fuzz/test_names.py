"""Names, tokens and headers that clients write: any text is what the grammar says, or its own documented error."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers

from sie.catalog.ids import check_model_id, is_bundle_id, is_profile_name
from sie.catalog.spec import Spec, parse_spec, route
from sie.errors import (
    BundleConflict,
    CatalogBehind,
    InvalidInput,
    InvalidModelId,
    InvalidModelSpec,
    ModelNotFound,
    ParseError,
    ProfileNotFound,
    RevisionGone,
    StoreUnavailable,
)
from sie.http.headers import check_machine_profile, model_revision, prefer_wait, timeout_s
from sie.router.revision import MIN_REVISION, reach_min_revision
from sie.router.watch import Watch, Watcher
from sie.settings import Settings
from sie.wire.answers import wants_msgpack
from sie.wire.notification import bundle_subject
from sie.wire.sync import sync_subject
from tests.catalog.made import DENSE, catalog, entry
from tests.fuzz.strategies import FILE, texts

separators = st.lists(
    st.sampled_from([":", "/", ":/", "a", "org/model", "default", "B", ".", "_", "-", " ", "é", "status"]), max_size=8
).map("".join)
names = separators | texts
segments = st.from_regex(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,6})", fullmatch=True)


@given(names)
def test_any_text_is_a_spec_of_which_all_parts_are_there_or_refused(text: str) -> None:
    try:
        spec = parse_spec(text)
    except InvalidModelSpec:
        return
    assert spec.model
    assert spec.bundle != ""
    assert spec.profile != ""
    prefix = "" if spec.bundle is None else f"{spec.bundle}:/"
    suffix = "" if spec.profile is None else f":{spec.profile}"
    written = f"{prefix}{spec.model}{suffix}"
    assert written.lower() == text.lower()
    assert written.removeprefix(prefix) == text[len(prefix) :]  # only a bundle's case is nobody's business
    assert parse_spec(written) == spec


@given(
    bundle=st.none() | segments,
    model=st.lists(segments, min_size=1, max_size=3).map("/".join),
    profile=st.none() | segments,
)
def test_whatever_has_legal_names_can_be_asked_for(bundle: str | None, model: str, profile: str | None) -> None:
    text = ("" if bundle is None else f"{bundle}:/") + model + ("" if profile is None else f":{profile}")
    assert parse_spec(text) == Spec(bundle=bundle.lower() if bundle else None, model=model, profile=profile)


@given(names, st.none() | names)
def test_any_name_leads_to_a_model_or_to_one_of_four_errors(text: str, bundle: str | None) -> None:
    made = catalog(FILE)
    with suppress(InvalidModelSpec, ModelNotFound, ProfileNotFound, BundleConflict):
        found = route(made, parse_spec(text), bundle)
        assert found.model is made.find("org/shipped")
        assert found.bundle in found.compatible


@given(names)
def test_a_legal_id_is_one_path_one_file_name_and_one_subject_and_no_other(text: str) -> None:
    with suppress(InvalidModelId):
        check_model_id(text)
        assert re.fullmatch(r"[A-Za-z0-9._/-]+", text)
        assert not {"", ".", ".."} & set(text.split("/"))
        assert text.replace("/", "__").replace("__", "/") == text  # as SIE v0.1.10 names files
        spec = parse_spec(text)
        assert (spec.bundle, spec.model, spec.profile) == (None, text, None)
    if is_profile_name(text):
        assert parse_spec(f"a/b:{text}") == Spec(bundle=None, model="a/b", profile=text)
    for subject in (bundle_subject, sync_subject):
        if is_bundle_id(text):
            assert re.fullmatch(r"[a-z]+\.[a-z]+\.[a-z]+\.[A-Za-z0-9_-]+", subject(text))
        elif text != "_all":
            with pytest.raises(ValueError):
                subject(text)


# -- revision tokens


tokens = (
    st.integers(-5, 30).map(str)
    | st.sampled_from(
        ["", "s:3", "s:", ":3", "t:3", "s:3 ", " 3", "٣", "1e3", "0x3", "+3", "s:s:3", "9" * 18, "9" * 19, "-0"]
    )
    | texts
)


def watch() -> Watch:
    made = Watch(Settings())
    made.begin("s", 10)
    for revision in range(11, 21):
        made.tell(entry("a/b", revision, profiles={f"p{revision}": {"adapter_path": DENSE}}), "s")
    return made


@given(since=st.none() | tokens, last=st.none() | tokens)
def test_any_token_is_a_place_to_watch_from_or_refused(since: str | None, last: str | None) -> None:
    said = last or since
    well_formed = said is None or re.fullmatch(r"([^:\s]{1,128}:)?[0-9]{1,18}", said) is not None
    try:
        watcher = watch().watcher(since=since, last_event_id=last)
    except ParseError:
        assert not well_formed
    except RevisionGone as gone:
        assert well_formed
        assert gone.fields == {"store": "s", "head": 20}  # noqa: PT017 — the other outcomes are as right as this one
    else:
        assert isinstance(watcher, Watcher)
        assert watcher._place == (20 if said is None else int(said.rpartition(":")[2]))
        assert 10 <= watcher._place <= 20


@given(since=tokens)
def test_before_anything_is_known_nobody_is_told_where_to_start(since: str) -> None:
    with pytest.raises(StoreUnavailable):
        Watch(Settings()).watcher(since=since, last_event_id=None)


def legal(text: str) -> bool:
    """What a header can hold: hypercorn refuses the rest."""
    return not set(text) & set("\r\n\0") and text.isprintable()


@given(tokens.filter(legal))
def test_any_min_revision_is_reached_or_refused(text: str) -> None:
    async def arrived(_wanted: int) -> None:
        await trio.lowlevel.checkpoint()

    async def reach() -> None:
        await reach_min_revision(Headers({MIN_REVISION: text}), revision=lambda: 7, wait_revision=arrived, within_s=0.0)

    try:
        trio.run(reach)
    except InvalidInput as refused:
        path = refused.fields["path"]
    except CatalogBehind as behind:
        path = ""
        lag = behind.fields["lag"]
        assert int(text) == 7 + lag
    else:
        path = ""
        assert int(text) <= 7
    assert bool(path) == (re.fullmatch(r"[0-9]{1,18}", text.strip()) is None)


@given(tokens.filter(legal))
def test_any_model_revision_is_a_number_or_refused(text: str) -> None:
    with suppress(InvalidInput):
        assert model_revision(Headers({"X-SIE-Model-Revision": text})) == ("", int(text))


@given(tokens.filter(legal))
def test_any_model_store_is_an_id_or_refused(text: str) -> None:
    with suppress(InvalidInput):
        store, _ = model_revision(Headers({"X-SIE-Model-Store": text}))
        assert store == text.strip()
        assert store.isascii()
        assert " " not in store


@given((tokens | st.floats().map(str)).filter(legal))
def test_any_timeout_is_some_time_or_refused(text: str) -> None:
    with suppress(InvalidInput):
        found = timeout_s(Headers({"X-SIE-Timeout-Ms": text}))
        assert found is not None
        assert 0 <= found < float("inf")


preferences = st.lists(
    st.sampled_from(["wait", "=", "5", " ", ",", ";", '"', "return=minimal", "WAIT=7", "wait=9", "-1", "1e3"]),
    max_size=8,
)


@given(preferences.map("".join) | texts.filter(legal))
def test_any_preference_is_a_wait_within_bounds_or_none(text: str) -> None:
    found = prefer_wait(Headers({"Prefer": text}), 8.0)
    assert found is None or 0 <= found <= 8.0
    assert (found is None) or "wait" in text.lower()
    assert isinstance(wants_msgpack(text), bool)


@given(texts.filter(legal), st.sampled_from(["", "l4", "L4-spot", "pool/l4"]))
def test_any_machine_profile_is_this_one_or_refused(text: str, identity: str) -> None:
    with suppress(InvalidInput):
        check_machine_profile(Headers({"X-SIE-MACHINE-PROFILE": text}), identity)
        assert identity
        assert "l4" in text.lower()

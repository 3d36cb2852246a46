"""`sie store check` and `sie store export` of stores in buckets: processes, real services, and what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from sie.cli import main
from sie.errors import OutcomeUnknown, StoreCorrupt, StoreUnavailable
from sie.store.bucket import Bucket
from sie.store.check import check_store
from sie.testing.proxy import Answer, open_proxy
from tests.bucket_servers import BUCKET
from tests.ports import free_port
from tests.store.samples import ROOT, entry
from tests.store.shared import Shared

_SECOND = "log/0000000002.json"
_ALL_WELL, _DAMAGED, _OUT_OF_REACH = 0, 1, 2


def sie_store(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit status, standard output and standard error of `sie store …`, run in this process."""
    done = CliRunner().invoke(main, ["store", *arguments], env=environment)
    return done.exit_code, done.stdout, done.stderr


def sie_store_process(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """The same in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "sie.cli", "store", *arguments],
        env={**os.environ, **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


async def filled(shared: Shared, entries: int) -> None:
    store = await shared.open()
    for revision in range(1, entries + 1):
        await store.append(entry(revision))
    await store.save_snapshot(entries, b"fold of all")
    await store.aclose()


@contextmanager
def looking(shared: Shared) -> Iterator[Bucket]:
    bucket = shared.bucket()
    try:
        yield bucket
    finally:
        bucket.close()


def everything(shared: Shared) -> dict[str, bytes | None]:
    with looking(shared) as bucket:
        names = [f"{folder}/{one}" for folder in ("log", "snapshot", "models") for one in bucket.names(folder)]
        return {name: bucket.get(name) for name in ("id", "probe", "epoch", *names)}


async def test_a_whole_store_is_said_to_be_whole_and_left_as_it_was(shared: Shared) -> None:
    await filled(shared, 40)  # more than are asked for at once
    before = everything(shared)
    assert sie_store_process("check", shared.url) == (_ALL_WELL, "40 entries, head 40, 1 snapshots\n", "")
    status, lines, said = sie_store("export", f"{shared.url}/")
    assert (status, said) == (_ALL_WELL, "")
    assert [json.loads(line)["revision"] for line in lines.splitlines()] == list(range(1, 41))
    assert [line.encode() for line in lines.splitlines()][1] == before[_SECOND]
    assert everything(shared) == before


DAMAGES: dict[str, tuple[Callable[[Bucket], None], str, str]] = {
    "torn": (lambda bucket: bucket.put(_SECOND, b'{"format": 1, "rev'), _SECOND, "2 entries, head 3"),
    "missing": (lambda bucket: bucket.delete(_SECOND), _SECOND, "2 entries, head 3"),
    "foreign": (lambda bucket: bucket.put("log/notes.txt", b"mine"), "log/notes.txt", "3 entries, head 3"),
    "renumbered": (
        lambda bucket: bucket.put(_SECOND, bucket.get("log/0000000001.json") or b""),
        _SECOND,
        "2 entries, head 3",
    ),
    "no id": (lambda bucket: bucket.delete("id"), "id", "3 entries, head 3"),
    "a torn id": (lambda bucket: bucket.put("id", b"?"), "id", "3 entries, head 3"),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_what_is_damaged_is_named_by_its_address_as_in_a_directory(s3: Shared, damage: str) -> None:
    await filled(s3, 3)
    do, name, counted = DAMAGES[damage]
    with looking(s3) as bucket:
        do(bucket)
    status, counts, problems = sie_store("check", s3.url)
    assert (status, counts) == (_DAMAGED, f"{counted}, 1 snapshots\n")
    assert problems.startswith(f"problem: {s3.url}/{name}")
    assert problems.count("\n") == 1
    if name.startswith("log/"):
        status, lines, said = sie_store("export", s3.url)
        assert status == _DAMAGED
        assert said.startswith(f"sie: {s3.url}/{name}")
        assert all(json.loads(line)["revision"] == 1 for line in lines.splitlines())


async def test_a_torn_snapshot_and_what_an_older_release_left_are_told(shared: Shared) -> None:
    await filled(shared, 2)
    with looking(shared) as bucket:
        bucket.put("snapshot/0000000001.json", b"torn")
        bucket.put("epoch", b"7")
        bucket.put("models/org__old.yaml", b"sie_id: org/old\n")
    report = check_store(shared.url)
    assert (report.entries, report.snapshots) == (2, 1)
    (problem,) = report.problems
    assert problem.startswith(f"{shared.url}/snapshot/0000000001.json")
    assert report.legacy is not None
    assert (report.legacy.epoch, report.legacy.documents) == (7, (("org/old", b"sie_id: org/old\n"),))


def test_where_there_is_no_store_or_no_bucket_it_says_so_and_makes_none(shared: Shared) -> None:
    for command in ("check", "export"):
        status, out, said = sie_store(command, shared.url)
        assert (status, out) == (_OUT_OF_REACH, "")
        assert said == f"sie: config store, {shared.url}: there is none\n"
        status, _, said = sie_store(command, f"{shared.scheme}://no-such-{BUCKET}/prefix")
        assert status == _OUT_OF_REACH
        assert said.startswith("sie: config store, ")
        assert "make the bucket" in said
        assert "Traceback" not in said
    assert set(everything(shared).values()) == {None}


@pytest.mark.parametrize(
    ("url", "variable"), [("s3://bucket/p", "AWS_ENDPOINT_URL"), ("gs://bucket/p", "STORAGE_EMULATOR_HOST")]
)
def test_a_service_that_is_not_there_is_out_of_reach(s3: Shared, url: str, variable: str) -> None:
    s3.monkeypatch.delenv("AWS_ENDPOINT_URL_S3")
    status, out, said = sie_store("check", url, **{variable: f"http://127.0.0.1:{free_port()}"})
    assert (status, out) == (_OUT_OF_REACH, "")
    assert said.startswith(f"sie: config store, {url}/")
    assert said.count("\n") == 1


async def test_a_busy_service_is_asked_again_and_one_that_goes_silent_damns_no_entry(shared: Shared) -> None:
    await filled(shared, 3)
    busy = Answer(503)
    async with open_proxy(("127.0.0.1", shared.port), faults=[busy, None, busy, None, None, None, busy]) as proxy:
        shared.lead_to(proxy.port)
        report = await trio.to_thread.run_sync(check_store, shared.url)
        assert (report.entries, report.problems) == (3, ())
        proxy.plan(None, None, None, None, *[busy] * 20)  # three listings and the id; then no entry
        with pytest.raises(StoreUnavailable) as caught:
            await trio.to_thread.run_sync(check_store, shared.url)
        assert not isinstance(caught.value, StoreCorrupt | OutcomeUnknown)
        assert f"{shared.url}/log/" in caught.value.message


def test_an_address_that_is_none_and_a_service_nobody_knows_are_refused(tmp_path: Path) -> None:
    for place, said in (("s3://key:hidden@b/p", "scheme://bucket/prefix"), ("ftp://bucket/p", "s3:// or gs://")):
        status, _, complaint = sie_store("check", place)
        assert status == _OUT_OF_REACH
        assert said in complaint
        assert "hidden" not in complaint
    assert sie_store("check", str(tmp_path / "nowhere"))[0] == _OUT_OF_REACH


def test_no_credentials_are_said_so(s3: Shared, tmp_path: Path) -> None:
    s3.monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    s3.monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    status, _, said = sie_store("check", s3.url)
    assert (status, said.count("\n")) == (_OUT_OF_REACH, 1)
    assert "Unable to locate credentials" in said
    status, _, said = sie_store("check", "gs://bucket/p", GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "none.json"))
    assert (status, said.count("\n")) == (_OUT_OF_REACH, 1)
    assert "none.json" in said


@pytest.mark.slow
def test_wrong_credentials_are_said_with_their_cure(weed: Shared) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        status, _, said = sie_store("check", weed.url, **{variable: "wrong"})
        assert status == _OUT_OF_REACH
        assert "check AWS_ACCESS_KEY_ID" in said


async def test_refused_credentials_are_said_with_their_cure(s3: Shared) -> None:
    body = b"<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>"
    async with open_proxy(("127.0.0.1", s3.port), faults=[Answer(403, body=body)]) as proxy:
        s3.lead_to(proxy.port)
        status, _, said = await trio.to_thread.run_sync(sie_store, "export", s3.url)
    assert status == _OUT_OF_REACH
    assert "check AWS_ACCESS_KEY_ID" in said


@pytest.mark.parametrize(
    ("library", "url", "extra"), [("boto3", "s3://bucket/p", "sie[s3]"), ("google", "gs://bucket/p", "sie[gcs]")]
)
def test_a_library_that_is_not_installed_is_named_with_its_extra(
    library: str, url: str, extra: str, tmp_path: Path
) -> None:
    (tmp_path / f"{library}.py").write_text(f"raise ModuleNotFoundError('no {library}', name='{library}')\n")
    status, out, said = sie_store_process("check", url, PYTHONPATH=str(tmp_path))
    assert (status, out) == (_OUT_OF_REACH, "")
    assert said == f"sie: {url} needs {library}: pip install '{extra}'\n"

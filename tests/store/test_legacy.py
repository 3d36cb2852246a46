"""A directory as SIE v0.1.10 left it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from sie.errors import StoreUnavailable
from sie.store.legacy import LegacyStore, read_legacy
from tests.store.samples import local


def _write(base: Path, epoch: str | None, **models: str) -> None:
    base.mkdir(exist_ok=True)
    if epoch is not None:
        (base / "epoch").write_text(epoch)
    for name, content in models.items():
        (base / "models").mkdir(exist_ok=True)
        (base / "models" / f"{name}.yaml").write_text(content)


def test_a_directory_it_never_wrote_in_is_none(tmp_path: Path) -> None:
    assert read_legacy(tmp_path) is None
    assert read_legacy(tmp_path / "nowhere") is None


def test_documents_come_in_the_order_of_their_ids(tmp_path: Path) -> None:
    _write(tmp_path, "12", BAAI__bge_m3="sie_id: b", **{"Alibaba-NLP__gte": "sie_id: a", "plain": "sie_id: p"})
    (tmp_path / "models" / "README.md").write_text("no model")
    assert read_legacy(str(tmp_path)) == LegacyStore(
        epoch=12,
        documents=(("Alibaba-NLP/gte", b"sie_id: a"), ("BAAI/bge_m3", b"sie_id: b"), ("plain", b"sie_id: p")),
    )


@pytest.mark.parametrize(("text", "epoch"), [("3", 3), ("3\n", 3), (" 3 ", 3), ("", 0), ("0", 0), (None, 0)])
def test_an_epoch_is_read_with_or_without_a_newline(tmp_path: Path, text: str | None, epoch: int) -> None:
    _write(tmp_path, text, a="sie_id: a")
    found = read_legacy(tmp_path)
    assert found is not None
    assert found.epoch == epoch


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "9" * 5000, "٣"])
def test_an_epoch_that_is_no_number_counts_as_zero_and_is_warned_of(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    _write(tmp_path, text)
    with caplog.at_level(logging.WARNING):
        assert read_legacy(tmp_path) == LegacyStore(epoch=0, documents=())
    assert str(tmp_path / "epoch") in caplog.text


@pytest.mark.parametrize("name", ["epoch", "models", "models/a.yaml"])
def test_what_is_there_and_cannot_be_read_is_an_error_that_names_it(tmp_path: Path, name: str) -> None:
    """Root can read anything but a directory as a file, or a file as a directory."""
    if name == "models":
        (tmp_path / name).write_text("")
    else:
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(StoreUnavailable) as caught:
        read_legacy(tmp_path)
    assert str(tmp_path / name) in caught.value.message


async def test_it_is_found_in_the_directory_of_a_new_store_and_left_as_it_was(tmp_path: Path) -> None:
    _write(tmp_path, "2\n", org__model="sie_id: org/model\n")
    store = await local(tmp_path)
    assert await store.load_legacy() == LegacyStore(epoch=2, documents=(("org/model", b"sie_id: org/model\n"),))
    assert (tmp_path / "epoch").read_text() == "2\n"
    assert [one.name for one in (tmp_path / "models").iterdir()] == ["org__model.yaml"]

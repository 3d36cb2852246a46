"""The files a process starts from: model and bundle YAML in the directories of the settings, or those built in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from sie.catalog.bundle import Bundle, read_bundle
from sie.catalog.catalog import Catalog
from sie.catalog.change import read_model
from sie.catalog.model import Model
from sie.errors import ConfigurationError
from sie.settings import Settings


@dataclass(frozen=True, slots=True)
class FileFault:
    """A model file that was left out: its name, and why."""

    name: str
    message: str


def load_catalog(settings: Settings, origin: int = 0) -> tuple[Catalog, Sequence[FileFault]]:
    """The catalog before any entry: the bundles this process runs and every model file that can be read.

    Raises ConfigurationError for a directory that is not there, a broken bundle file, or an unknown bundle's name.
    """
    models, faults = read_models(settings.models_dir)
    try:
        catalog = Catalog(_chosen(read_bundles(settings.bundles_dir), settings.bundles), origin=origin)
    except ValueError as fault:
        raise ConfigurationError(str(fault)) from None
    for model in models:
        catalog.add_file(model)
    return catalog, faults


def read_models(directory: Path | None) -> tuple[Sequence[Model], Sequence[FileFault]]:
    """Every `*.yaml` of the directory, by name; None: the built-in ones. A broken file costs itself only.

    Raises ConfigurationError if the directory cannot be read.
    """
    models: list[Model] = []
    faults: list[FileFault] = []
    named_by: dict[str, str] = {}
    for file in _yaml_files(directory, "models"):
        try:
            model = read_model(file.read_bytes(), name=file.name)
        except OSError as fault:
            faults.append(FileFault(file.name, f"cannot be read: {fault.strerror}"))
            continue
        except ConfigurationError as fault:
            faults.append(FileFault(file.name, str(fault)))
            continue
        first = named_by.setdefault(model.sie_id.lower(), file.name)
        if first == file.name:
            models.append(model)
        else:
            faults.append(FileFault(file.name, f"{file.name}: {model.sie_id} is in {first} already (case ignored)"))
    return models, faults


def read_bundles(directory: Path | None) -> Sequence[Bundle]:
    """Every `*.yaml` of the directory, by name; None: the built-in ones.

    Raises ConfigurationError if the directory or any of the files cannot be read: a bundle less is another image.
    """
    bundles = []
    for file in _yaml_files(directory, "bundles"):
        try:
            bundles.append(read_bundle(file.read_bytes(), file.name.removesuffix(".yaml")))
        except OSError as fault:
            raise ConfigurationError(f"{file.name} cannot be read: {fault.strerror}") from None
    if not bundles:
        raise ConfigurationError(f"no bundle (*.yaml) in {directory}: without one nothing can run")
    return bundles


def _chosen(bundles: Sequence[Bundle], names: Sequence[str]) -> Iterator[Bundle]:
    known = {one.bundle_id.lower(): one for one in bundles}
    for name in names:
        if name.lower() not in known:
            listed = ", ".join(sorted(one.bundle_id for one in bundles))
            raise ConfigurationError(f"there is no bundle {name!r}; there are {listed}")
    wanted = {name.lower() for name in names} or set(known)
    return (one for one in bundles if one.bundle_id.lower() in wanted)


def _yaml_files(directory: Path | None, built_in: str) -> Sequence[Traversable]:
    place: Traversable = directory or resources.files("sie.catalog") / "builtin" / built_in
    try:
        return sorted((one for one in place.iterdir() if one.name.endswith(".yaml")), key=lambda one: one.name)
    except OSError as fault:
        raise ConfigurationError(f"{place} cannot be read as a directory: {fault.strerror}") from None

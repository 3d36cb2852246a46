"""A transformer as an ONNX graph: exported once, kept on disk, run by ONNX Runtime on the CPU.

A kept graph is a folder named after everything it was made from, the weights themselves included; in it a list of what
its files hold. It gets its name when it is whole, and one that is not as listed is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sie.worker.adapters.backend import Backend, Features, Unfit
from sie.worker.adapters.contract import LoadOrder

log = logging.getLogger("sie.worker.adapters")

# Part of every folder's name: another one when what is exported, or how, changes here.
_FORM = "1"
_PACKAGES = ("onnxruntime", "onnx", "onnxscript")
_MADE_BY = ("torch", "transformers", "sentence-transformers", "onnx", "onnxscript")
_GRAPH = "graph.onnx"
_LIST = "files.json"
_OUTPUT = "output"
# They tell of torchvision, which is not there, and of each node that goes.
_TALKERS = ("torch.onnx._internal.exporter._registration", "onnx_ir")


class Graph(torch.nn.Module):
    """What is exported: the transformer with its inputs by position, because a graph's inputs have an order."""

    def __init__(self, transformer: Any, names: Sequence[str]) -> None:
        super().__init__()
        self._transformer = transformer
        self._names = names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        features = dict(zip(self._names, inputs, strict=True))
        output: torch.Tensor = self._transformer(features)[self._transformer.module_output_name]
        return output


def open_graph(order: LoadOrder, transformer: Any, example: Features) -> Backend:
    """The transformer's graph in a session of its own, with as many threads as torch has. Blocks.

    `example`: features of several rows and lengths. Raises Unfit for another device or precision and for a package that
    is not installed; what the export, the disk and the session raise is passed on.
    """
    if torch.device(order.device).type != "cpu" or order.precision != "float32":
        raise Unfit(f"onnx runs float32 on a CPU, and this is {order.precision} on {order.device}")
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise Unfit(f"{package} is not installed: pip install 'sie[onnx]'")
    folder = (order.graphs or Path("~/.cache/sie/graphs")).expanduser() / _fingerprint(transformer, list(example))
    if is_whole(folder):
        log.info("its ONNX graph is kept in %s", folder)
    else:
        began = time.monotonic()
        _make(folder, transformer, example)
        log.info("its ONNX graph was made in %.1f s: %s", time.monotonic() - began, folder)
    session = _session(folder / _GRAPH)
    taken = [one.name for one in session.get_inputs()]  # a model need not use all that it is given

    def forward(features: Features) -> torch.Tensor:
        (output,) = session.run([_OUTPUT], {name: features[name].numpy() for name in taken})
        return torch.from_numpy(output)

    return Backend("onnx", forward, sum(file.stat().st_size for file in folder.iterdir()))


def is_whole(folder: Path) -> bool:
    """Whether the folder holds the files of its list, each with the bytes it had, and no others."""
    try:
        listed = json.loads((folder / _LIST).read_bytes())
        return bool(listed == _digests(folder))
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    digests = {}
    for path in folder.iterdir():
        if path.name != _LIST:
            with path.open("rb") as file:
                digests[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _fingerprint(transformer: Any, names: Sequence[str]) -> str:
    """Of the weights, the configuration and the versions that make a graph of them."""
    config = transformer.model.config
    digest = hashlib.sha256()
    versions = [importlib.metadata.version(package) for package in _MADE_BY]
    parts = [_FORM, *versions, type(transformer.model).__qualname__, transformer.module_output_name, *names]
    parts += [str(getattr(config, "_attn_implementation", None)), config.to_json_string()]
    for part in parts:
        digest.update(part.encode() + b"\0")
    for name, tensor in transformer.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        digest.update(np.ascontiguousarray(tensor.numpy()).data)
    return digest.hexdigest()[:32]


def _make(folder: Path, transformer: Any, example: Features) -> None:
    """Export into a folder beside it, then give that its name. Another process that was quicker made the same."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as making:
        whole = Path(making) / "whole"
        whole.mkdir()
        _export(Graph(transformer, list(example)), example, whole / _GRAPH)
        (whole / _LIST).write_text(json.dumps(_digests(whole)))
        try:
            if not is_whole(folder):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(folder, Path(making) / "torn")
                os.rename(whole, folder)
        except OSError:
            if not is_whole(folder):
                raise


def _export(graph: Graph, example: Features, path: Path) -> None:
    both = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    # Exporting traces with autograd's tensors, which those of inference mode are not.
    with _quietly(), torch.inference_mode(mode=False), torch.no_grad():
        program = torch.onnx.export(
            graph.eval(),
            tuple(example.values()),
            dynamo=True,
            dynamic_shapes=(tuple(both for _ in example),),
            input_names=list(example),
            output_names=[_OUTPUT],
            verbose=False,
            # Its optimiser keeps the last graph, and torch's weights with it; ONNX Runtime has one of its own.
            optimize=False,
        )
        assert program is not None  # with dynamo=True
        program.save(path, external_data=True)  # one file may not hold more than 2 GiB


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without what the exporter says about itself, which nobody here can act on."""
    loggers = [logging.getLogger(name) for name in _TALKERS]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch's own use of its own pytree, when it copies an exported program.
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)`", FutureWarning)
            yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)


def _session(path: Path) -> Any:
    # Not for good: that would keep from the collector what is alive just now, and the weights that are to go with it.
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; its warnings are about how it optimised
    # Its threads would wait for one another by spinning, on cores that the event loop and the tokeniser need as well:
    # with two busy cores a batch takes half as long again.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # The arena would keep what the largest batch took, for ever; without it nothing was slower that could be measured.
    options.enable_cpu_mem_arena = False
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

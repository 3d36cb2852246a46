"""A transformer run by torch, its linear layers by oneDNN from weights laid out for it once.

torch multiplies float32 with MKL, which on a processor not Intel's leaves the wider instructions unused; oneDNN uses
what there is. all-MiniLM-L6-v2 on two AMD cores with AVX-512: 0.66 of eager torch's time for one text of 16 tokens,
0.8 for 32 of them, 0.8 for 32 of 112.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch

from sie.worker.adapters.backend import Backend, Features, Unfit
from sie.worker.adapters.contract import LoadOrder

# The layout is one for all batches; this is about the smallest in which it matters.
_LAID_OUT_FOR_TOKENS = 512


class PackedLinear(torch.nn.Module):
    """Stands for a Linear, or for one and the GELU behind it: one pass over what comes out for two."""

    def __init__(self, linear: torch.nn.Linear, *, gelu: bool) -> None:
        super().__init__()
        bias: torch.Tensor | None = linear.bias  # its type says there always is one
        self._weight = torch.ops.mkldnn._reorder_linear_weight(linear.weight.detach(), _LAID_OUT_FOR_TOKENS)
        self._bias = None if bias is None else bias.detach()
        # The second is how GELU is computed: by the error function, as torch does.
        self._behind = ("gelu", "none") if gelu else ("none", "")
        self._run = torch.ops.mkldnn._linear_pointwise.default
        self.memory_bytes = sum(one.numel() * one.element_size() for one in linear.parameters())

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        behind, how = self._behind
        output: torch.Tensor = self._run(rows, self._weight, self._bias, behind, [], how)
        return output


def is_fit(order: LoadOrder) -> bool:
    """Whether it is for this device and precision at all."""
    return torch.device(order.device).type == "cpu" and order.precision == "float32"


def pack(order: LoadOrder, transformer: Any) -> Backend:
    """A copy of the transformer that shares everything with it but the linear layers' weights.

    Raises Unfit for another device or precision, and where this torch was built without oneDNN.
    """
    if not is_fit(order):
        raise Unfit(f"onednn runs float32 on a CPU, and this is {order.precision} on {order.device}")
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        raise Unfit("this torch has no oneDNN")
    # What `deepcopy` finds here is taken as the copy that it would make.
    instead: dict[int, Any] = {id(one): one for one in (*transformer.parameters(), *transformer.buffers())}
    for linear, gelu in _linears(transformer):
        instead[id(linear)] = PackedLinear(linear, gelu=gelu is not None)
        if gelu is not None:
            instead[id(gelu)] = torch.nn.Identity()
    packed = copy.deepcopy(transformer, instead)
    tensors = [*packed.parameters(), *packed.buffers()]
    memory_bytes = sum(one.numel() * one.element_size() for one in tensors)
    memory_bytes += sum(one.memory_bytes for one in packed.modules() if isinstance(one, PackedLinear))

    def forward(features: Features) -> torch.Tensor:
        output: torch.Tensor = packed(dict(features))[packed.module_output_name]
        return output

    return Backend("onednn", forward, memory_bytes)


def _linears(transformer: torch.nn.Module) -> Iterator[tuple[torch.nn.Linear, torch.nn.Module | None]]:
    """Each linear layer, and the GELU that has nothing but its output, where a module is made of these two."""
    behind = {}
    for module in transformer.modules():
        children = dict(module.named_children())
        if children.keys() == {"dense", "intermediate_act_fn"} and _is_gelu(children["intermediate_act_fn"]):
            behind[id(children["dense"])] = children["intermediate_act_fn"]
    for module in transformer.modules():
        if type(module) is torch.nn.Linear:
            yield module, behind.get(id(module))


def _is_gelu(module: torch.nn.Module) -> bool:
    if isinstance(module, torch.nn.GELU):
        return module.approximate == "none"
    return getattr(module, "act", None) is torch.nn.functional.gelu  # transformers' GELUActivation

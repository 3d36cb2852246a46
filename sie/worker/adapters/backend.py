"""What can run a transformer's forward pass in the place of eager torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch

Features: TypeAlias = dict[str, torch.Tensor]


class Unfit(Exception):
    """This backend cannot run this model here. The message says why, in words that stand after a colon."""


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to run it: a padded batch's features in, the transformer's output (a vector a token, or logits) out."""

    name: str
    forward: Callable[[Features], torch.Tensor]
    memory_bytes: int  # what its weights take


class Replacement(torch.nn.Module):
    """Stands where the transformer stood among a model's modules. It has no parameters of its own."""

    def __init__(self, backend: Backend, output: str) -> None:
        super().__init__()
        self._backend = backend
        self._output = output

    def forward(self, features: Features) -> Features:
        return {**features, self._output: self._backend.forward(features)}

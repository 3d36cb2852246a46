"""What one model has done, counted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Counts:
    """Since the process began."""

    batches: int = 0
    items: int = 0  # that ran; the same one for several requests counts once
    shared: int = 0  # that did not have to: the same was on its way, or kept
    tokens: int = 0
    padded_tokens: int = 0
    failed_batches: int = 0
    run_s: float = 0.0

    @property
    def mean_tokens(self) -> float:
        """Of an item; 0 while none has run."""
        return self.tokens / self.items if self.items else 0.0

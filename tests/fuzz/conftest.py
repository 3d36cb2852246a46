"""How much is tried. `make fuzz` takes the profile "fuzz"; with both, what was found is kept, and tried first."""

from __future__ import annotations

import hypothesis.core
import pytest
from hypothesis import settings
from hypothesis.vendor.pretty import RepresentationPrinter

settings.register_profile("fuzz", settings.get_profile("default"), max_examples=2000)


@pytest.fixture(autouse=True)
def show_examples(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """schemathesis 4.32 takes hypothesis's printer away for everybody, and a failing example would be shown as `one=,`.

    Its own tests do without, as they print requests: with it, they would take a hundred times as long.
    """
    if request.module.__name__ != "tests.fuzz.test_http":
        monkeypatch.setattr(hypothesis.core, "RepresentationPrinter", RepresentationPrinter)

"""A pytest plugin: `pytest -p tests.planted.planting --plant NAME …` runs tests with a known way to lose planted."""

from __future__ import annotations

import pytest

from tests.planted.mutations import MUTATIONS


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--plant", choices=sorted(MUTATIONS), required=True)


def pytest_configure(config: pytest.Config) -> None:
    MUTATIONS[config.getoption("--plant")].plant()

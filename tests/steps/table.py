"""Every public coroutine of the package, and the cases that have been made for them."""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import CodeType
from typing import Literal, TypeAlias

import pytest

import sie
from sie.testing.steps import Trial, Whose

ROOT = Path(sie.__file__).parent

# Whether anything real is waited for, a thread or a socket; where not, time jumps.
Clock: TypeAlias = Literal["jumps", "real"]

# What iterates, enters or is called is public, whatever its name looks like.
_SPOKEN = {"__call__", "__aenter__", "__aexit__", "__anext__"}


@dataclass(frozen=True)
class Place:
    """What a round may use of the machine."""

    tmp_path: Path
    monkeypatch: pytest.MonkeyPatch
    request: pytest.FixtureRequest
    _numbers: Iterator[int]

    @staticmethod
    def of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Place:
        return Place(tmp_path, monkeypatch, request, itertools.count(1))

    def folder(self) -> Path:
        """One nobody has used."""
        return self.tmp_path / str(next(self._numbers))


World: TypeAlias = Callable[[Place], AbstractAsyncContextManager[Trial]]


@dataclass(frozen=True)
class Case:
    """`names`: of the coroutines, as `module:Class.method`. `jumps`: whether nothing real is waited for."""

    names: tuple[str, ...]
    world: World
    whose: Whose
    jumps: bool
    label: str
    slow: bool

    @property
    def marks(self) -> Sequence[pytest.MarkDecorator]:
        return [pytest.mark.slow] if self.slow else []


CASES: list[Case] = []


def case(
    *names: str,
    whose: Whose = "all",
    clock: Clock = "jumps",
    label: str = "",
    slow: bool = False,
) -> Callable[[World], World]:
    """Have this world tried out, for these coroutines: all of them must have run in it."""

    def add(world: World) -> World:
        CASES.append(Case(names, world, whose, clock == "jumps", label or names[0], slow))
        return world

    return add


def public_coroutines() -> dict[str, str]:
    """By name, with their docstrings and their classes'; but those of Protocols, which have no body, and `testing`."""
    found: dict[str, str] = {}
    for file in sorted(ROOT.rglob("*.py")):
        inside = file.relative_to(ROOT).with_suffix("").parts
        if inside[0] == "testing":
            continue
        module = ".".join(("sie", *(part for part in inside if part != "__init__")))
        for node in ast.parse(file.read_text()).body:
            if isinstance(node, ast.AsyncFunctionDef) and not node.name.startswith("_"):
                found[f"{module}:{node.name}"] = ast.get_docstring(node) or ""
            elif isinstance(node, ast.ClassDef) and not node.name.startswith("_") and not _is_protocol(node):
                for one in node.body:
                    if isinstance(one, ast.AsyncFunctionDef) and (one.name[0] != "_" or one.name in _SPOKEN):
                        said = f"{ast.get_docstring(one) or ''}\n{ast.get_docstring(node) or ''}"
                        found[f"{module}:{node.name}.{one.name}"] = said
    return found


def _is_protocol(node: ast.ClassDef) -> bool:
    return any("Protocol" in ast.unparse(base) for base in node.bases)


def code_of(name: str) -> CodeType:
    """The body that runs when the coroutine does."""
    module, _, path = name.partition(":")
    found: object = importlib.import_module(module)
    for part in path.split("."):
        found = inspect.getattr_static(found, part)
    function = inspect.unwrap(found)  # type: ignore[arg-type]
    assert inspect.isfunction(function), name
    return function.__code__


def load() -> None:
    """Have every module of `cases` add its own."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent / "cases")]):
        importlib.import_module(f"tests.steps.cases.{module.name}")

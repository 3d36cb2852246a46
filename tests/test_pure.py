"""The middle stays pure: no await, no clock, no transport, no file; what it imports of this package is pure too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import sie

ROOT = Path(sie.__file__).parent

# Every module that must stay so; a pattern that matches nothing is a mistake.
PURE = (
    *("errors.py", "catalog/**/*.py", "wire/**/*.py", "store/layout.py", "store/survey.py"),
    *("router/choice.py", "router/demand.py", "router/traffic.py", "observe/durations.py"),
    *(
        f"worker/{name}.py"
        for name in (
            *(
                "batching",
                "cost",
                "counts",
                "identity",
                "options",
                "postprocess",
                "residency",
                "rotation",
                "schedule",
                "sharing",
            ),
            "adapters/contract",
        )
    ),
)

OUTSIDE = {
    *("anyio", "asyncio", "concurrent", "multiprocessing", "signal", "subprocess", "threading", "trio"),
    *("aiohttp", "http", "httpx", "hypercorn", "nats", "quart", "quart_trio", "socket", "trio_websocket", "urllib"),
    *("importlib", "io", "os", "pathlib", "shutil", "tempfile", "torch"),
    *("datetime", "random", "secrets", "time", "uuid"),
}
CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__"})
AWAITING = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)


def pure_files() -> Iterator[Path]:
    for pattern in PURE:
        found = sorted(ROOT.glob(pattern))
        assert found, f"{pattern} matches nothing"
        yield from found


def imported(tree: ast.AST) -> Iterator[str]:
    """What is imported when the code runs, as `module` or `module.name`; for the type checker alone does not count."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{one.name}" for one in node.names)
        yield from imported(node)


FILES = {str(one.relative_to(ROOT)): one for one in pure_files()}


@pytest.mark.parametrize("path", FILES.values(), ids=FILES.keys())
def test_it_awaits_nothing_and_reaches_nothing_outside(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, AWAITING)] == []
    calls = {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
    assert calls & CALLS == set()
    used = set(imported(tree))
    assert {one for one in used if one.partition(".")[0] in OUTSIDE} == set()
    pure = {f"sie.{name.removesuffix('.py').replace('/', '.')}" for name in FILES}
    ours = {one for one in used if one.partition(".")[0] == "sie"}
    assert {one for one in ours if one not in pure and one.rpartition(".")[0] not in pure} == set()


def test_the_check_sees_what_it_looks_for() -> None:
    tree = ast.parse(
        "if TYPE_CHECKING:\n    import os\ndef f():\n    from trio.abc import Clock\n    import a.b, time\n"
    )
    assert set(imported(tree)) == {"trio.abc.Clock", "a.b", "time"}

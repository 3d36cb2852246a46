"""The project's promises about itself: what is installed, what is documented, what is read where."""

from __future__ import annotations

import ast
import dataclasses
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import sie.settings
from sie.errors import ConfigurationError

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name_of(requirement: str) -> str:
    return re.split(r"[<>=\[ ;]", requirement)[0]


def test_a_router_needs_these_and_nothing_else() -> None:
    """The base install is held here: whoever adds to it says why in the README."""
    names = {name_of(one) for one in PROJECT["dependencies"]}
    assert names == {
        "trio",
        "quart",
        "quart-trio",
        "hypercorn",
        "httptools",
        "wsproto",
        "trio-websocket",
        "pyyaml",
        "orjson",
        "msgpack",
        "prometheus-client",
        "click",
        "nats-py",
        "anyio",
    }
    reasons = README[README.index("## What is installed") :]
    for name in names:
        assert re.search(rf"\b{name}\b", reasons), f"README gives no reason for {name}"
    for extra in PROJECT["optional-dependencies"]:
        assert f"`{extra}`" in reasons


def test_the_environment_is_read_in_one_place() -> None:
    readers = [
        str(file.relative_to(ROOT))
        for file in (ROOT / "sie").rglob("*.py")
        if re.search(r"\bos\.(environ|getenv)\b", file.read_text())
    ]
    assert readers == ["sie/settings.py"]


def test_every_setting_has_a_variable_and_a_reason() -> None:
    fields = dataclasses.fields(sie.settings.Settings)
    variables = [one.metadata["variable"] for one in fields]
    assert len(set(variables)) == len(variables)
    assert all(len(one.metadata["why"]) > 10 for one in fields)


def test_every_public_module_says_what_it_is_for() -> None:
    for file in (ROOT / "sie").rglob("*.py"):
        tree = ast.parse(file.read_text())
        assert ast.get_docstring(tree) or not tree.body, f"{file} has no docstring"


def test_every_path_the_readme_names_is_there() -> None:
    for path in re.findall(r"`(sie/[\w./]*)`", README):
        assert (ROOT / path).exists(), path


def test_ci_runs_what_the_readme_tells_a_person_to_run() -> None:
    assert "make test" in README
    assert "make test" in (ROOT / ".ci" / "run").read_text()


def test_every_setting_that_is_not_secret_is_a_flag() -> None:
    shown = "".join(
        subprocess.run(
            [sys.executable, "-m", "sie.cli", command, "--help"], capture_output=True, text=True, check=True
        ).stdout
        for command in ("serve", "worker")
    )
    variables = {one.metadata["variable"] for one in dataclasses.fields(sie.settings.Settings)}
    in_help = set(re.findall(r"\[(SIE_[A-Z_]+);", shown))
    secrets = {"SIE_AUTH_TOKEN", "SIE_ADMIN_TOKEN", "SIE_NATS_URL", "SIE_BUS_KEY"}
    assert variables - in_help == {*secrets, "POD_NAME"}


def test_no_secret_is_shown_where_settings_are() -> None:
    settings = sie.settings.Settings(auth_token="hush", admin_token="hush", nats_url="nats://a:hush@b", bus_key="hush")
    assert "hush" not in repr(settings)


def test_a_flag_wins_over_its_variable_and_nonsense_is_named() -> None:
    environment = {"SIE_PORT": "1", "SIE_BUNDLES": "a, b", "SIE_CONFIG_RESTORE": "true"}
    read = sie.settings.Settings.from_environment(environment, flags={"port": "2", "preload": ("x", "y"), "host": None})
    assert (read.port, read.bundles, read.restore, read.preload) == (2, ("a", "b"), True, ("x", "y"))
    assert sie.settings.Settings.from_environment(environment, flags={"restore": False}).restore is False
    with pytest.raises(ConfigurationError) as refused:
        sie.settings.Settings.from_environment({"SIE_CONFIG_RESTORE": "maybe"})
    assert "SIE_CONFIG_RESTORE" in str(refused.value)

# Rule: nothing heavy is imported at the top. `sie --help` answers before torch, trio or a web framework would be read.
"""The command line."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import click

from sie.errors import ConfigurationError, SieError, StoreCorrupt

Command: TypeAlias = Callable[..., None]


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="sie")
def main() -> None:
    """Add models to a running inference engine with one POST, and encode with them by the next request.

    Every flag has an environment variable, shown in brackets; a flag wins over its variable.
    """


def _settings_flags(*, without: str) -> Callable[[Command], Command]:
    """One flag for every setting that is not secret: `--config-store-dir` for SIE_CONFIG_STORE_DIR, and so on, with
    the setting's reason as its help. `without`: the setting that is no business of this command."""
    from sie.settings import Settings

    def add(command: Command) -> Command:
        for one in reversed(dataclasses.fields(Settings)):
            variable: str = one.metadata["variable"]
            if variable.startswith("SIE_") and not one.metadata["secret"] and one.name != without:
                command = _flag(variable, one.name, one.default, one.metadata["why"], one.metadata["flag"])(command)
        return command

    return add


_NOTHING = {None: "unset", (): "none", "": "none"}


def _flag(variable: str, name: str, default: Any, why: str, called: str | None) -> Any:
    flag = called or "--" + variable.removeprefix("SIE_").lower().replace("_", "-")
    shown = ("no", "yes")[default] if isinstance(default, bool) else _NOTHING.get(default, default)
    text = f"{why}. [{variable}; {shown}]"
    if isinstance(default, bool):
        return click.option(f"{flag}/--no-{flag[2:]}", name, default=None, help=text)
    if isinstance(default, tuple):
        return click.option(flag.removesuffix("s"), name, multiple=True, help=f"Repeatable: {text}")
    return click.option(flag, name, help=text)


@main.command()
@_settings_flags(without="bundle")
def serve(**flags: Any) -> None:
    """Run the engine: Config API and inference in one process.

    Tokens come from the environment only: SIE_AUTH_TOKEN reads and infers, SIE_ADMIN_TOKEN also adds models.
    """
    from sie.settings import Settings

    with _told_plainly():
        settings = Settings.from_environment(flags=flags)
        from sie.program import engine_summary, run_program
        from sie.service import serve as serve_engine

        run_program(serve_engine, settings, engine_summary)


@main.command()
@_settings_flags(without="bundle")
def router(**flags: Any) -> None:
    """Run a router: the Config API, and inference passed on to workers (`--worker http://host:port`, repeatable).

    Tokens come from the environment only, as SIE_NATS_URL does, which may hold a password.
    """
    from sie.settings import Settings

    with _told_plainly():
        settings = Settings.from_environment(flags=flags)
        from sie.program import plain_summary, run_program
        from sie.router.service import serve_router

        run_program(serve_router, settings, plain_summary("router"))


@main.command()
@_settings_flags(without="bundles")
def worker(**flags: Any) -> None:
    """Run a worker: the models of one bundle, for the routers that dial it.

    It hears of models over NATS (SIE_NATS_URL), or reads a shared store (SIE_CONFIG_STORE_DIR=s3://… or gs://…).
    """
    from sie.settings import Settings

    with _told_plainly():
        settings = Settings.from_environment(flags=flags)
        from sie.program import plain_summary, run_program
        from sie.worker.service import serve_worker

        run_program(serve_worker, settings, plain_summary("worker"), settles=True)


@main.command(
    "conformance",
    add_help_option=False,
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "max_content_width": 110},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def conformance(arguments: tuple[str, ...]) -> None:
    """Judge any implementation of the Config API by its URL; --help tells the options."""
    from spec.__main__ import main as judge

    sys.exit(judge(arguments))


@main.group()
def store() -> None:
    """Look into a config store. Reads only; the engine may be running."""


@store.command("check")
@click.argument("place", metavar="STORE")
def check(place: str) -> None:
    """Read every object of the store and name what is torn, foreign, missing or renumbered.

    STORE is a directory, or s3://bucket/prefix or gs://bucket/prefix, reached by the variables and profile that the
    engine would use. Exit status: 0 if all is well, 1 if anything is not, 2 if it could not be looked at.
    """
    from sie.store.check import check_store

    with _told_plainly(out_of_reach=2):
        report = check_store(place, timeout_s=_store_timeout_s())
    click.echo(f"{report.entries} entries, head {report.head}, {report.snapshots} snapshots")
    for problem in report.problems:
        click.echo(f"problem: {problem}", err=True)
    sys.exit(0 if report.ok else 1)


@store.command("export")
@click.argument("place", metavar="STORE")
def export(place: str) -> None:
    """Write every entry to standard output, in order, one JSON object a line; STORE and exit status as for check."""
    from sie.store.check import export_store

    with _told_plainly(out_of_reach=2):
        for line in export_store(place, timeout_s=_store_timeout_s()):
            click.echo(line)


def _store_timeout_s() -> float:
    from sie.settings import Settings

    return Settings.from_environment().store_timeout_s


class _told_plainly:
    """Ends the command with one line on stderr, and no traceback, for what its user can mend. Exit status 1.

    `out_of_reach`: the status where a store that is to be looked at cannot be.
    """

    def __init__(self, *, out_of_reach: int = 1) -> None:
        self._out_of_reach = out_of_reach

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        fault = _only(error)
        if isinstance(fault, ConfigurationError | SieError):
            click.echo(f"sie: {fault}", err=True)
            sys.exit(1 if isinstance(fault, StoreCorrupt) else self._out_of_reach)


def _only(error: BaseException | None) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    main()

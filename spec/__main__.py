"""`python -m spec URL …`: judge one target. See README.md."""

from __future__ import annotations

import argparse
import datetime
import sys
import time
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit

from spec import lint, table
from spec.case import BadCase, Case, read_cases
from spec.clauses import read_clauses
from spec.report import SUFFIXES, Report, make_report, told, write_report
from spec.request import Tokens
from spec.run import REPORT_S, RUN_S, judge_target
from spec.target import Addresses, Target, Unreachable, find_target

_ABOUT = """Judge an implementation of the Config API from outside.
Also: `python -m spec lint`, `python -m spec table REPORT.json…`, `python -m spec judge HISTORY`.

Exit status: 0 all passed; 1 something failed, or passed that was expected to fail; 2 the run could not be made."""


class _NoRun(Exception):
    """The text says why the run cannot be made."""


def main(argv: Sequence[str] | None = None) -> int:
    """What the command line asks for; its exit status. Raises SystemExit(2) for options that are wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    match arguments[:1]:
        case ["lint"]:
            return lint.main(arguments[1:])
        case ["table"]:
            return table.main(arguments[1:])
        case ["judge"]:
            from spec import judge  # late: of no use to the others

            return judge.main(arguments[1:])
    options = _parser().parse_args(arguments)
    try:
        return _run(options)
    except _NoRun as why:
        print(f"the run could not be made: {why}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m spec", description=_ABOUT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", metavar="URL", nargs="?", help="the router's base URL")
    parser.add_argument("--admin-token", metavar="T", help="the target's SIE_ADMIN_TOKEN")
    parser.add_argument("--auth-token", metavar="T", help="the target's SIE_AUTH_TOKEN")
    parser.add_argument("--router2", metavar="URL", help="a second router of the same cluster")
    parser.add_argument("--nats", metavar="nats://…", help="the NATS server that they use")
    parser.add_argument("--worker", metavar="URL", help="a worker's base URL; its /ws/status is read")
    parser.add_argument(
        "--restart", metavar="COMMAND", help="a shell command that restarts the first router and returns when it is up"
    )
    parser.add_argument(
        "--report", metavar="FILE", type=Path, action="append", default=[], help="by suffix: .xml (JUnit), .json, .html"
    )
    parser.add_argument(
        "--only", metavar="PATTERN", action="append", default=[], help="cases or clauses like this, e.g. 'auth/*'"
    )
    parser.add_argument(
        "--expect-failures", metavar="FILE", type=Path, help="names of cases, a line each; # begins a comment"
    )
    parser.add_argument(
        "--within",
        metavar="SECONDS",
        type=float,
        default=RUN_S,
        help="the most a run takes, less restarts; %(default)g",
    )
    parser.add_argument("--list", action="store_true", help="print the cases and do nothing")
    return parser


def _run(options: argparse.Namespace) -> int:
    began = time.monotonic()
    cases = _cases(options.only)
    if options.list:
        for one in cases:
            print(f"{one.clause}  {one.name}  {one.shows}" + (f"  [{', '.join(one.needs)}]" if one.needs else ""))
        return 0
    for path in options.report:
        if path.suffix not in SUFFIXES:
            raise _NoRun(f"--report {path}: its name must end in {', '.join(SUFFIXES)}")
    expected_failures = _expected_failures(options.expect_failures)
    target = _target(options)
    outcomes = list(
        judge_target(target, cases, deadline=began + options.within - REPORT_S, expected_failures=expected_failures)
    )
    ended = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    report = make_report(
        outcomes,
        read_clauses(),
        implementation=target.name,
        version=target.version,
        target=target.addresses.router,
        ended=ended,
        seconds=round(time.monotonic() - began, 1),
    )
    for path in options.report:
        try:
            write_report(report, path)
        except OSError as fault:
            raise _NoRun(f"--report {path}: {fault}") from None
    _print(report)
    if all(one.status == "skipped" for one in outcomes):
        raise _NoRun("every case was skipped")
    return 1 if any(one.wrong for one in outcomes) else 0


def _cases(patterns: Sequence[str]) -> Sequence[Case]:
    try:
        cases = read_cases()
    except BadCase as fault:
        raise _NoRun(str(fault)) from None
    if patterns:
        cases = [
            one for one in cases if any(fnmatchcase(name, like) for name in (one.name, one.clause) for like in patterns)
        ]
    if not cases:
        raise _NoRun("no cases" + (f" are like {', '.join(patterns)}" if patterns else ""))
    return cases


def _expected_failures(path: Path | None) -> frozenset[str]:
    if path is None:
        return frozenset()
    try:
        lines = [line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as fault:
        raise _NoRun(f"--expect-failures {path}: {fault}") from None
    names = frozenset(line for line in lines if line)
    if unknown := sorted(names - {one.name for one in read_cases()}):
        raise _NoRun(f"--expect-failures {path}: no such case: {', '.join(unknown)}")
    return names


def _target(options: argparse.Namespace) -> Target:
    if options.url is None:
        raise _NoRun("give the router's URL, e.g. http://localhost:8080")
    for name in ("url", "router2", "worker"):
        given = getattr(options, name)
        if given is not None and not _is_base(given):
            raise _NoRun(f"{given!r} is not an http:// or https:// URL")
    addresses = Addresses(
        router=options.url.rstrip("/"),
        router2=options.router2,
        worker=options.worker,
        nats=options.nats,
        restart=options.restart,
        tokens=Tokens(admin=options.admin_token, reader=options.auth_token),
    )
    try:
        return find_target(addresses)
    except Unreachable as fault:
        raise _NoRun(str(fault)) from None


def _is_base(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _print(report: Report) -> None:
    for one in report.lines:
        if one.wrong:
            print(f"{one.status.upper()}  {one.clause} {one.sentence}\n  case {one.name}: {one.shows}")
            print("\n".join(f"  {line}" for line in told(one).splitlines()), end="\n\n")
    skipped: dict[str, list[str]] = {}
    for one in report.lines:
        if one.status == "skipped":
            skipped.setdefault(one.reason, []).append(one.name)
    for reason, names in skipped.items():
        print(f"skipped, {reason}:\n" + "\n".join(f"  {name}" for name in names))
    counts = ", ".join(f"{number} {status}" for status, number in sorted(report.counts().items()))
    print(f"{report.implementation} {report.version} at {report.target}: {counts}, in {report.seconds} s")


if __name__ == "__main__":
    sys.exit(main())

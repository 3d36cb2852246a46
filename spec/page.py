"""A report as one HTML page that needs nothing else. Pure."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spec.report import Line, Report

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #1b1f24 }
h1 { font-size: 1.4rem; margin-bottom: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .3rem }
table { border-collapse: collapse; width: 100% } td { padding: .25rem .6rem .25rem 0; vertical-align: top }
tr { border-top: 1px solid #d8dee4 } code, pre { font: 13px/1.45 ui-monospace, monospace }
pre { background: #f6f8fa; padding: .6rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere }
.mark { white-space: nowrap; width: 9rem } .quiet { color: #59636e }
.passed { color: #116329 } .failed, .unexpectedly { color: #a40e26; font-weight: 600 } .skipped { color: #59636e }
@media (prefers-color-scheme: dark) {
  body { background: #0d1117; color: #e6edf3 } pre { background: #161b22 } tr { border-color: #30363d }
  .quiet, .skipped { color: #9198a1 } .passed { color: #56d364 } .failed, .unexpectedly { color: #ff7b72 }
}
"""
_PARTS = (("did", "doing"), ("expected", "expected"), ("got", "actual"))


def page(report: Report) -> str:
    """What failed comes first and is open; then every clause group, with each case."""
    title = f"{escape(report.implementation)} {escape(report.version)}: conformance to the Config API"
    counts = ", ".join(f"{number} {status}" for status, number in sorted(report.counts().items()))
    about = f"{escape(report.target)}, {escape(report.ended)}, {report.seconds:.1f} s"
    wrong = [one for one in report.lines if one.wrong]
    groups: dict[str, list[Line]] = {}
    for one in report.lines:
        groups.setdefault(one.group, []).append(one)
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f'<meta name="viewport" content="width=device-width"><title>{title}</title><style>{_STYLE}</style>',
        "</head><body>",
        f'<h1>{title}</h1><p><b>{counts}</b><br><span class="quiet">{about}</span></p>',
        *(["<h2>What is wrong</h2>", _table(wrong, opened=True)] if wrong else []),
        *(part for name, lines in groups.items() for part in (f"<h2>{escape(name)}</h2>", _table(lines))),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _table(lines: list[Line], *, opened: bool = False) -> str:
    return "<table>" + "\n".join(_row(one, opened=opened) for one in lines) + "</table>"


def _row(line: Line, *, opened: bool) -> str:
    said = f"{escape(line.shows)}<br>" + f'<span class="quiet"><code>{escape(line.name)}</code></span>'
    if line.reason:
        said += f'<br><span class="quiet">{escape(line.reason)}</span>'
    if line.doing:
        blocks = "".join(f"{word}<pre>{escape(getattr(line, name))}</pre>" for word, name in _PARTS)
        said += blocks if opened else f"<details><summary>what was sent and what came</summary>{blocks}</details>"
    clause = f'<code title="{escape(line.sentence)}">{line.clause}</code>'
    return f'<tr><td class="mark {line.status}">{line.status}</td><td>{clause}</td><td>{said}</td></tr>'

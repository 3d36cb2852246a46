"""Pictures of a result as PNG and SVG, side by side as wide as a README shows them; needs the extra `bench`.

Grey on nothing, so that a page may be light or dark. The same values give the same bytes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.pictures import Bars, Lines, Picture

_GREY = "#7f8790"
_COLOURS = ("#3b82c4", "#e07b39", "#4fa36a", "#b565a7", "#c9a227", "#5fb3b3", "#8d7b68")
_LEVEL: Any = {"color": _GREY, "linestyle": "--", "linewidth": 1}
_WIDE, _HIGH = 4.6, 3.2  # inches each; at 100 dots an inch, two are as wide as a README's column
_STYLE: Any = {
    "axes.edgecolor": _GREY,
    "axes.labelcolor": _GREY,
    "axes.titlecolor": _GREY,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "font.family": "DejaVu Sans",
    "grid.color": _GREY,
    "grid.alpha": 0.25,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "legend.labelcolor": _GREY,
    "text.color": _GREY,
    "xtick.color": _GREY,
    "ytick.color": _GREY,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "svg.hashsalt": "bench",  # or every file would have other ids
    "svg.fonttype": "path",
}


def installed() -> bool:
    """Whether anything can be drawn here."""
    return importlib.util.find_spec("matplotlib") is not None


def draw(pictures: Sequence[Picture], place: Path) -> Sequence[Path]:
    """Write PLACE.png and PLACE.svg, the pictures beside each other, two in a row. Returns what was written.

    Raises ModuleNotFoundError where matplotlib is not installed.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.use("agg")
    across = min(2, len(pictures))
    down = -(-len(pictures) // 2)
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDE * across if across > 1 else 1.5 * _WIDE, _HIGH * down), layout="constrained")
        places = figure.subplots(down, across, squeeze=False).flatten()
        for one, axes in zip(pictures, places, strict=False):
            _draw(one, axes)
        for axes in places[len(pictures) :]:
            axes.set_axis_off()
        written = [place.with_suffix(suffix) for suffix in (".png", ".svg")]
        for file in written:
            metadata = {"Date": None} if file.suffix == ".svg" else {"Software": None}
            figure.savefig(file, transparent=True, dpi=200, metadata=metadata)
    return written


def _draw(picture: Picture, axes: Any) -> None:
    axes.set_title(picture.title)
    named = _lines(picture, axes) if isinstance(picture, Lines) else _bars(picture, axes)
    if named > 1:
        axes.legend()


def _lines(picture: Lines, axes: Any) -> int:
    """How many of them have a name."""
    axes.set_xlabel(picture.across)
    axes.set_ylabel(picture.up)
    axes.grid(visible=True, axis="y")
    for number, (name, points) in enumerate(picture.lines.items()):
        x, y = zip(*points, strict=True) if points else ((), ())
        axes.plot(x, y, color=_colour(number), label=name, marker="o", markersize=3, linewidth=1.6)
    if picture.level is not None:
        axes.axhline(picture.level[0], label=picture.level[1], **_LEVEL)
    if picture.logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    return len(picture.lines) + (picture.level is not None)


def _bars(picture: Bars, axes: Any) -> int:
    """Lying, so that each group's name can be read. As `_lines`."""
    axes.set_xlabel(picture.up)
    axes.grid(visible=True, axis="x")
    series = list(dict.fromkeys(name for bars in picture.groups.values() for name in bars))
    width = 0.8 / max(1, len(series))
    for number, name in enumerate(series):
        found = [(at, bars[name]) for at, bars in enumerate(picture.groups.values()) if name in bars]
        places = [at + (number - (len(series) - 1) / 2) * width for at, _ in found]
        lengths = [length for _, length in found]
        drawn = axes.barh(places, lengths, width * 0.9, color=_colour(number), label=name)
        axes.bar_label(drawn, [f"{one:.3g}" if one < 1000 else f"{one:.0f}" for one in lengths], padding=3, fontsize=7)
    if picture.level is not None:
        axes.axvline(picture.level[0], label=picture.level[1], **_LEVEL)
    axes.set_yticks(range(len(picture.groups)), list(picture.groups))
    axes.invert_yaxis()
    axes.margins(x=0.12)
    return len(series) + (picture.level is not None)


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]

"""The sheet that charts are drawn on, and what becomes of matplotlib's file: SVG that belongs into a page.

Safety property: matplotlib's settings belong to the process, so one chart at a time is drawn, with settings of its
own; nothing of the drawing's time, machine or order is left in it. Ids are made unique: those of two charts in
one page would otherwise mean each other's clip paths.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable
from io import StringIO
from typing import Any

#: In points of 1/72 inch, at the width of a phone: shrunk from a desktop's width, letters could not be read there.
WIDTH, HEIGHT, LETTERS = 400, 230, 13

#: What is drawn with, and what it becomes: the page's own colours, which know light and dark. The colours of the
#: series are those of Okabe and Ito, which colour-blind people can tell apart.
INK, GRID = "#010203", "#040506"
_SERIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c8c8c", "#7a5195")
MOST_SERIES = len(_SERIES)
_VARIABLES = {
    INK: "var(--ink, #333)",
    GRID: "var(--grid, #ccc)",
    **{value: f"var(--series-{place}, {value})" for place, value in enumerate(_SERIES)},
}

_lock = threading.Lock()
_AROUND = re.compile(r"^.*?(?=<svg)|<metadata>.*?</metadata>|<!--.*?-->|<defs>\s*<style.*?</style>\s*</defs>", re.S)
_OPENING = re.compile(r"<svg[^>]*>")
_ID = re.compile(r'(\bid="|url\(#|href="#)([^")]+)')
_COLOUR = re.compile("|".join(_VARIABLES))
_FONT = re.compile(r"font: ([0-9.]+px)[^;\"]*")


def colour(place: int) -> str:
    """The colour of the series at a place, from 0."""
    return _SERIES[place]


def drawn(draw: Callable[[Any], None], label: str) -> str:
    """Let ``draw`` fill a pair of axes and give the picture as inline SVG, named ``label`` for a screen reader."""
    settings: Any = {
        "svg.hashsalt": "caretaker", "svg.fonttype": "none", "text.parse_math": False, "font.size": LETTERS,
        "font.family": ["DejaVu Sans"], "axes.formatter.useoffset": False, "axes.unicode_minus": True,
        "xtick.labelsize": LETTERS, "ytick.labelsize": LETTERS, "path.simplify": False,
    }  # fmt: skip
    with _lock:
        raw = _draw(draw, settings)
    return _inline(raw, label, hashlib.sha256(f"{label}\n{raw}".encode()).hexdigest()[:10])


def _draw(draw: Callable[[Any], None], settings: Any) -> str:
    import matplotlib as mpl
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(settings)
        figure = Figure(figsize=(WIDTH / 72, HEIGHT / 72), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color(GRID)
        draw(axes)
        axes.yaxis.set_major_formatter(_thousands)
        text = StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
    return text.getvalue()


def _thousands(value: float, _: float) -> str:
    for size, sign in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{sign}"
    return f"{value:g}"


def _inline(raw: str, label: str, prefix: str) -> str:
    from markupsafe import escape

    body = _AROUND.sub("", raw)
    opening = (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    body = _OPENING.sub(lambda _: opening, body, count=1)
    body = _ID.sub(lambda found: f"{found[1]}c{prefix}-{found[2]}", body)
    body = _FONT.sub(lambda found: f"font-size: {found[1]}; font-family: inherit", body)
    return _COLOUR.sub(lambda found: _VARIABLES[found[0]], body).strip()

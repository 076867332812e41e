"""Draws a plot's data as a small SVG: no library, no request, crisp at any size.

Colours are CSS classes (``c0`` … ``c4``) that can be seen on white and in the dark. The data comes from the database:
every text is escaped, and data that cannot be drawn gives an empty frame instead of a broken page.
"""

import math
from collections.abc import Callable
from html import escape
from typing import Any

WIDTH, HEIGHT = 320, 200
LEFT, RIGHT, TOP, BOTTOM = 26, 308, 14, 176
COLOURS = 5
STYLE = (
    "<style>.c0{--c:#3776ab}.c1{--c:#f2a93b}.c2{--c:#3a9d7c}.c3{--c:#c8553d}.c4{--c:#8067b7}"
    ".f{fill:var(--c)}.l{fill:none;stroke:var(--c);stroke-width:2.5;stroke-linejoin:round}"
    ".axis{stroke:#8a94a3;stroke-width:1}text{font:11px system-ui,sans-serif;fill:#6b7686}</style>"
)

Data = dict[str, Any]
Scale = Callable[[float], float]


def picture(data: Data) -> str:
    """The whole SVG for the data of a spec."""
    try:
        body = DRAWERS[data["kind"]](data)
    except (KeyError, IndexError, TypeError, ValueError, ZeroDivisionError):
        body = _label(WIDTH / 2, HEIGHT / 2, "no picture")
    label = escape(str(data.get("kind", "plot")))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label} plot">'
        f"{STYLE}{body}</svg>"
    )


def _scatter(data: Data) -> str:
    across, up = _scales(data["x"], data["y"])
    return _axes(data) + "".join(_dot(across(x), up(y), 3.5) for x, y in zip(data["x"], data["y"], strict=True))


def _bubble(data: Data) -> str:
    across, up = _scales(data["x"], data["y"], margin=0.12)
    largest = max(data["size"])
    points = sorted(zip(data["x"], data["y"], data["size"], strict=True), key=lambda point: -point[2])
    return _axes(data) + "".join(_dot(across(x), up(y), 3 + 19 * math.sqrt(size / largest)) for x, y, size in points)


def _line(data: Data) -> str:
    every = [value for series in data["series"] for value in series["values"]]
    across, up = _scales(data["x"], every)
    return _axes(data) + "".join(
        f'<polyline class="l {_colour(index)}" points="{_points(data["x"], series["values"], across, up)}"/>'
        for index, series in enumerate(data["series"])
    )


def _area(data: Data) -> str:
    count = len(data["x"])
    totals = [sum(series["values"][at] for series in data["series"]) for at in range(count)]
    across, up = _scale(data["x"], LEFT, RIGHT), _scale([0, *totals], BOTTOM, TOP)
    floor, layers = [0.0] * count, []
    for index, series in enumerate(data["series"]):
        ceiling = [low + value for low, value in zip(floor, series["values"], strict=True)]
        outline = _points(data["x"], ceiling, across, up) + " " + _points(data["x"][::-1], floor[::-1], across, up)
        layers.append(f'<polygon class="f {_colour(index)}" opacity=".85" points="{outline}"/>')
        floor = ceiling
    return "".join(layers) + _axes(data)


def _step(data: Data) -> str:
    across, up = _scales(data["x"], data["y"])
    path, level = "", up(data["y"][0])
    for x, y in zip(data["x"], data["y"], strict=True):
        path += f"{across(x):.1f},{level:.1f} {across(x):.1f},{up(y):.1f} "
        level = up(y)
    return _axes(data) + f'<polyline class="l c0" points="{path.strip()}"/>'


def _bar(data: Data) -> str:
    up = _scale([0, *(value for series in data["series"] for value in series["values"])], BOTTOM, TOP)
    slot = (RIGHT - LEFT) / len(data["categories"])
    width = slot * 0.76 / len(data["series"])
    bars = [
        _rectangle(LEFT + slot * (at + 0.12) + width * index, up(value), width - 1, BOTTOM - up(value), _colour(index))
        for index, series in enumerate(data["series"])
        for at, value in enumerate(series["values"])
    ]
    return "".join(bars) + _names(data["categories"]) + _axes({"y_label": data.get("y_label", "")})


def _histogram(data: Data) -> str:
    up, edges = _scale([0, *data["counts"]], BOTTOM, TOP), data["edges"]
    across = _scale(edges, LEFT, RIGHT)
    return "".join(
        _rectangle(across(low), up(count), across(high) - across(low) - 1, BOTTOM - up(count), "c0")
        for low, high, count in zip(edges[:-1], edges[1:], data["counts"], strict=True)
    ) + _axes(data)


def _heatmap(data: Data) -> str:
    size, labels = len(data["labels"]), data["labels"]
    side = (BOTTOM - TOP) / size
    left = (WIDTH - side * size) / 2 + 12
    cells = [
        f'<rect x="{left + column * side:.1f}" y="{TOP + row * side:.1f}" rx="3"'
        f' width="{side - 2:.1f}" height="{side - 2:.1f}" opacity="{max(abs(value), 0.05):.2f}"'
        f' class="f {"c3" if value > 0 else "c0"}"/>'
        for row, values in enumerate(data["values"])
        for column, value in enumerate(values)
    ]
    across = "".join(_label(left + (at + 0.5) * side, BOTTOM + 14, name) for at, name in enumerate(labels))
    down = "".join(_label(left - 6, TOP + (at + 0.6) * side, name, "end") for at, name in enumerate(labels))
    return "".join(cells) + across + down


def _box(data: Data) -> str:
    up = _scale([value for box in data["boxes"] for value in box], BOTTOM - 6, TOP)
    slot = (RIGHT - LEFT) / len(data["boxes"])
    drawn = []
    for index, box in enumerate(data["boxes"]):
        low, first, median, third, high = map(up, box)
        x, half = LEFT + slot * (index + 0.5), slot * 0.25
        drawn += [
            f'<line class="axis" x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}"/>',
            _rectangle(x - half, third, 2 * half, first - third, _colour(index)),
            f'<path stroke="#fff" stroke-width="2" d="M{x - half:.1f} {median:.1f}H{x + half:.1f}"/>',
        ]
    return "".join(drawn) + _names(data["categories"]) + _axes({"y_label": data.get("y_label", "")})


def _donut(data: Data) -> str:
    total, turned, radius = sum(data["values"]), 0.0, 56
    around = 2 * math.pi * radius
    parts = []
    for index, value in enumerate(data["values"]):
        share = value / total * around
        parts.append(
            f'<circle class="{_colour(index)}" cx="118" cy="98" r="{radius}" fill="none" style="stroke:var(--c)"'
            f' stroke-width="30" stroke-dasharray="{max(share - 2, 0):.2f} {around:.2f}"'
            f' stroke-dashoffset="{-turned:.2f}" transform="rotate(-90 118 98)"/>'
            f'<circle class="f {_colour(index)}" cx="218" cy="{52 + 24 * index}" r="5"/>'
            + _label(230, 56 + 24 * index, f"{data['labels'][index]}", "start")
        )
        turned += share
    return "".join(parts)


def _lollipop(data: Data) -> str:
    across = _scale([0, *data["values"]], 96, RIGHT - 8)
    slot = (BOTTOM - TOP) / len(data["values"])
    drawn = []
    for index, (name, value) in enumerate(zip(data["categories"], data["values"], strict=True)):
        y = TOP + slot * (index + 0.5)
        drawn.append(
            f'<line class="l c0" x1="96" y1="{y:.1f}" x2="{across(value):.1f}" y2="{y:.1f}"/>'
            + _dot(across(value), y, 6, opacity=1)
            + _label(88, y + 4, name, "end")
        )
    return "".join(drawn)


def _radar(data: Data) -> str:
    count, largest = len(data["labels"]), data["maximum"]

    def corner(at: int, value: float) -> str:
        angle, radius = 2 * math.pi * at / count - math.pi / 2, 72 * value / largest
        return f"{WIDTH / 2 + radius * math.cos(angle):.1f},{98 + radius * math.sin(angle):.1f}"

    def outline(values: list[float]) -> str:
        return " ".join(corner(at, value) for at, value in enumerate(values))

    rings = [
        f'<polygon fill="none" class="axis" opacity=".4" points="{outline([largest * part] * count)}"/>'
        for part in (1 / 3, 2 / 3, 1)
    ]
    shapes = [
        f'<polygon class="l {_colour(index)}" style="fill:var(--c);fill-opacity:.25"'
        f' points="{outline(series["values"])}"/>'
        for index, series in enumerate(data["series"])
    ]
    names = [
        _label(*map(float, corner(at, largest * 1.24).split(",")), name) for at, name in enumerate(data["labels"])
    ]
    return "".join(rings + shapes + names)


DRAWERS: dict[str, Callable[[Data], str]] = {
    "scatter": _scatter,
    "bubble": _bubble,
    "line": _line,
    "area": _area,
    "step": _step,
    "bar": _bar,
    "histogram": _histogram,
    "heatmap": _heatmap,
    "box": _box,
    "donut": _donut,
    "lollipop": _lollipop,
    "radar": _radar,
}


def _scales(x: list[float], y: list[float], margin: float = 0.05) -> tuple[Scale, Scale]:
    return _scale(x, LEFT, RIGHT, margin), _scale(y, BOTTOM, TOP, margin)


def _scale(values: list[float], start: float, end: float, margin: float = 0.0) -> Scale:
    """Maps the range of the values, widened by ``margin`` on either side, to pixels from ``start`` to ``end``."""
    low, high = min(values), max(values)
    spare = (high - low) * margin
    return lambda value: start + (value - low + spare) / (high - low + 2 * spare) * (end - start)


def _points(x: list[float], y: list[float], across: Scale, up: Scale) -> str:
    return " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in zip(x, y, strict=True))


def _axes(data: Data) -> str:
    lines = f'<path class="axis" fill="none" d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}"/>'
    names = _label(RIGHT, BOTTOM + 16, data["x_label"], "end") if "x_label" in data else ""
    if "y_label" in data:
        names += _label(LEFT + 6, TOP + 2, data["y_label"], "start")
    return lines + names


def _names(names: list[str]) -> str:
    slot = (RIGHT - LEFT) / len(names)
    return "".join(_label(LEFT + slot * (at + 0.5), BOTTOM + 16, name) for at, name in enumerate(names))


def _dot(x: float, y: float, radius: float, opacity: float = 0.65) -> str:
    return f'<circle class="f c0" opacity="{opacity}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}"/>'


def _rectangle(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect class="f {colour}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="1.5"/>'


def _label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(str(text))}</text>'


def _colour(index: int) -> str:
    return f"c{index % COLOURS}"

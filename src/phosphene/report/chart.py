"""Curves as inline SVG: readable in both themes, in print, and aloud."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from phosphene.report.html import number

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 68, 12, 14, 48
STYLES = 6  # colors and dashes that style.css knows


class Series(NamedTuple):
    """One curve: points (x, y), x rising."""

    label: str
    points: tuple[tuple[float, float], ...]


class _Axis(NamedTuple):
    """Where the values from low to high lie on the drawing."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The place of a value, in units of the drawing."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 2)

    @property
    def ticks(self) -> list[float]:
        """Round values, four to nine of them."""
        rough = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(rough))
        step = power * max(factor for factor in (1, 2, 5) if factor * power <= rough * (1 + 1e-9))
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(i * step, 12) for i in range(first, last + 1)]


def line_chart(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    title: str,
    y_range: tuple[float, float] | None = None,
) -> Markup:
    """Curves over one pair of axes, told apart by color and by dashes, with a key and a description in words.

    Args:
        series: the curves.
        x_label: name and unit of the horizontal axis.
        y_label: name and unit of the vertical axis.
        title: what the chart shows.
        y_range: ends of the vertical axis; None for those of the data, and 0.

    >>> svg = line_chart([Series("a <b>", ((0, 1), (1, 0)))], "share", "p", title="Deletion")
    >>> svg[:4], "a &lt;b&gt; goes from 1 to 0" in svg
    (Markup('<svg'), True)
    """
    points = [point for each in series for point in each.points]
    assert points, f"the chart {title!r} has no points"
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = y_range or (min(0.0, *ys), max(0.0, *ys))
    rows = (len(series) + 1) // 2
    across = _axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = _axis(low, high, HEIGHT - BOTTOM, TOP)
    parts = [
        *_frame(across, up, x_label, y_label),
        *(_curve(i, each, across, up) for i, each in enumerate(series)),
        *(_key(i, each.label) for i, each in enumerate(series)),
    ]
    shape = Markup('<svg class="chart" role="img" viewBox="0 0 {} {}" aria-label="{}"><title>{}</title><desc>{}</desc>')
    told = _description(series, x_label, y_label)
    head = shape.format(WIDTH, HEIGHT + 22 * rows, f"{title}. {told}", title, told)
    return head + Markup("").join(parts) + Markup("</svg>")


def _axis(low: float, high: float, start: float, end: float) -> _Axis:
    return _Axis(low, high if high > low else low + 1, start, end)


def _frame(across: _Axis, up: _Axis, x_label: str, y_label: str) -> list[Markup]:
    line = Markup('<line class="rule" x1="{}" y1="{}" x2="{}" y2="{}"/>')
    text = Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>')
    parts = []
    for value in up.ticks:
        parts.append(line.format(across.start, up.at(value), across.end, up.at(value)))
        parts.append(text.format(across.start - 8, up.at(value) + 4, "end", number(value)))
    parts += [text.format(across.at(value), up.start + 18, "middle", number(value)) for value in across.ticks]
    parts.append(text.format((across.start + across.end) / 2, up.start + 38, "middle", x_label))
    turned = Markup('<text transform="translate(14 {}) rotate(-90)" text-anchor="middle">{}</text>')
    return [*parts, turned.format((up.start + up.end) / 2, y_label)]


def _curve(i: int, series: Series, across: _Axis, up: _Axis) -> Markup:
    places = " ".join(f"{across.at(x):g},{up.at(y):g}" for x, y in series.points)
    return Markup('<polyline class="series s{}" points="{}"/>').format(i % STYLES + 1, places)


def _key(i: int, label: str) -> Markup:
    x, y = LEFT + (i % 2) * (WIDTH - LEFT) // 2, HEIGHT + 8 + 22 * (i // 2)
    shape = Markup('<line class="series s{}" x1="{}" y1="{}" x2="{}" y2="{}"/><text x="{}" y="{}">{}</text>')
    return shape.format(i % STYLES + 1, x, y, x + 34, y, x + 42, y + 4, label)


def _description(series: Sequence[Series], x_label: str, y_label: str) -> str:
    told = [f"{each.label} goes from {number(each.points[0][1])} to {number(each.points[-1][1])}" for each in series]
    return f"{y_label} against {x_label}: {'; '.join(told)}."

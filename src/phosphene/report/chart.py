"""Curves and histograms as inline SVG: readable in both themes, in print, and aloud."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from phosphene.report.html import number

WIDTH, HEIGHT = 560, 320
LEFT, RIGHT, TOP, BOTTOM = 68, 12, 14, 48
OCTAVES = 12  # from the largest magnitude of a histogram down to what counts as nearly 0
ROOM = 34  # that the 0 of an axis wants on both sides
STYLES = 6  # colors and dashes that style.css knows


class Series(NamedTuple):
    """One curve: points (x, y), x rising."""

    label: str
    points: tuple[tuple[float, float], ...]


class Bin(NamedTuple):
    """How many values lie in [low, high), and how many of those are marked."""

    low: float
    high: float
    total: int
    marked: int = 0


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


class _Octaves(NamedTuple):
    """An axis in octaves on both sides of 0; from -least to least it is linear, one octave wide."""

    low: float
    high: float
    least: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The place of a value, in units of the drawing."""
        low, here, high = (self._steps(end) for end in (self.low, value, self.high))
        return round(self.start + (here - low) / (high - low) * (self.end - self.start), 2)

    def _steps(self, value: float) -> float:
        if abs(value) < self.least:
            return value / self.least / 2
        return math.copysign(math.log2(abs(value) / self.least) + 0.5, value)

    @property
    def ticks(self) -> list[float]:
        """Round values and 0, nine at most; the ends of an axis too short for them."""
        lowest, highest = (math.floor(math.log10(size)) for size in (self.least, max(-self.low, self.high)))
        for factors, every in ((1, 2, 5), 1), ((1, 3), 1), ((1,), 1), ((1,), 2), ((1,), 3):
            sizes = [f * 10.0**p for p in range(lowest, highest + 1) if p % every == 0 for f in factors]
            both = [sign * size for size in sizes for sign in (-1, 1) if size >= self.least]
            ticks = sorted(value for value in (0.0, *both) if self.low <= value <= self.high)
            if len(ticks) <= 9:
                break
        ticks = [value for value in ticks if not value or abs(self.at(value) - self.at(0.0)) > ROOM]
        return ticks if len(ticks) > 1 else [self.low, self.high]


def line_chart(
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    *,
    title: str,
    y_range: tuple[float, float] | None = None,
) -> Markup:
    """Curves over one pair of axes, distinguished by color and by dashes, with a key and a description in words.

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
    points = [point for curve in series for point in curve.points]
    assert points, f"the chart {title!r} has no points"
    xs, ys = [x for x, _ in points], [y for _, y in points]
    low, high = y_range or (min(0.0, *ys), max(0.0, *ys))
    rows = (len(series) + 1) // 2
    across = _axis(min(xs), max(xs), LEFT, WIDTH - RIGHT)
    up = _axis(low, high, HEIGHT - BOTTOM, TOP)
    parts = [
        *_frame(across, up, x_label, y_label),
        *(_curve(i, curve, across, up) for i, curve in enumerate(series)),
        *(_key(i, curve.label) for i, curve in enumerate(series)),
    ]
    return _drawing(parts, rows, title, _description(series, x_label, y_label))


def histogram(bins: Sequence[Bin], x_label: str, y_label: str, *, title: str, mark: str = "") -> Markup:
    """Columns over an axis in octaves on both sides of 0, a part of every column marked.

    Args:
        bins: those that hold something, rising.
        x_label: name and unit of the values.
        y_label: what is counted.
        title: what the chart shows.
        mark: what the marked values are.

    >>> svg = histogram([Bin(-2, -1, 3), Bin(0, 1, 4), Bin(1, 2, 9, 2)], "activation", "images", title="All")
    >>> svg.count('class="column"'), "16 images, from −2 to 2; most, 9, from 1 to 2." in svg
    (3, True)
    """
    assert bins, f"the histogram {title!r} is empty"
    across, columns = _octaves(bins)
    up = _axis(0.0, max(column.total for column in columns), HEIGHT - BOTTOM, TOP)
    parts = [
        *_frame(across, up, x_label, y_label),
        *(part for column in columns for part in _column(column, across, up)),
    ]
    if mark:
        key = Markup('<rect class="column strong" x="{}" y="{}" width="14" height="14"/><text x="{}" y="{}">{}</text>')
        parts.append(key.format(LEFT, HEIGHT + 1, LEFT + 22, HEIGHT + 13, mark))
    most = max(columns, key=lambda column: column.total)
    description = (
        f"{number(sum(column.total for column in columns))} {y_label}, from {number(across.low)} to "
        f"{number(across.high)}; "
        f"most, {number(most.total)}, from {number(most.low)} to {number(most.high)}"
    )
    return _drawing(parts, bool(mark), title, description + (f"; {mark} are marked." if mark else "."))


def _octaves(bins: Sequence[Bin]) -> tuple[_Octaves, list[Bin]]:
    """The axis for some bins, and the bins with those that are nearly 0 in one."""
    far = max(-bins[0].low, bins[-1].high)
    inner = [max(column.low, -column.high) for column in bins if column.low > 0 or column.high < 0]
    least = max(min(inner, default=far), 2.0 ** math.floor(math.log2(far) - OCTAVES))
    near = [column for column in bins if -least <= column.low and column.high <= least]
    if near:
        ends = -least if near[0].low < 0 else 0.0, least if near[-1].high > 0 else 0.0
        middle = Bin(*ends, sum(column.total for column in near), sum(column.marked for column in near))
        bins = sorted([middle, *(column for column in bins if column not in near)])
    return _Octaves(bins[0].low, bins[-1].high, least, LEFT, WIDTH - RIGHT), list(bins)


def _column(it: Bin, across: _Octaves, up: _Axis) -> list[Markup]:
    """A column with its marked part at the foot; where there is anything, something is seen."""
    left, right = across.at(it.low), across.at(it.high)
    shape = Markup('<rect class="{}" x="{:g}" y="{:g}" width="{:g}" height="{:g}"/>')
    tops = [("column", up.at(it.total)), ("column strong", up.at(it.marked))]
    drawn = [(name, min(top, up.start - 1.5)) for name, top in tops if top < up.start]
    return [shape.format(name, left, top, max(right - left - 1, 1), up.start - top) for name, top in drawn]


def _drawing(parts: Sequence[Markup], rows: int, title: str, description: str) -> Markup:
    """A frame of its own around all parts, with room for the rows of a key."""
    shape = Markup('<svg class="chart" role="img" viewBox="0 0 {} {}" aria-label="{}"><title>{}</title><desc>{}</desc>')
    head = shape.format(WIDTH, HEIGHT + 22 * rows, f"{title}. {description}", title, description)
    return head + Markup("").join(parts) + Markup("</svg>")


def _axis(low: float, high: float, start: float, end: float) -> _Axis:
    return _Axis(low, high if high > low else low + 1, start, end)


def _frame(across: _Axis | _Octaves, up: _Axis, x_label: str, y_label: str) -> list[Markup]:
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
    curves = (f"{label} goes from {number(points[0][1])} to {number(points[-1][1])}" for label, points in series)
    return f"{y_label} against {x_label}: {'; '.join(curves)}."

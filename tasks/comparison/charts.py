"""The report's pictures as inline SVG, in the page's own colours: no script, no network, light and dark."""

import math
from collections.abc import Sequence

import msgspec
from markupsafe import Markup, escape

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 12, 44


class Point(msgspec.Struct, frozen=True):
    """A variant in the picture of cost against quality; y in percent."""

    label: str
    x: float
    y: float
    low: float
    high: float


def _ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers that cover a span."""
    span = max(high - low, 1e-12)
    step = 10 ** math.floor(math.log10(span / count))
    step *= next(factor for factor in (1, 2, 5, 10) if span / (step * factor) <= count)
    first = math.floor(low / step)
    return [round((first + number) * step, 12) for number in range(math.ceil(high / step) - first + 1)]


def _short(value: float) -> str:
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def _frame(body: list[str], title: str) -> Markup:
    # All that comes from outside has been escaped where it was put in.
    return Markup(  # noqa: S704
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">{"".join(body)}</svg>'
    )


def _axes(xs: Sequence[float], ys: Sequence[float], x_name: str, y_name: str) -> list[str]:
    body = []
    for y in ys:
        place = _y(y, ys)
        body.append(f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{place:.1f}" y2="{place:.1f}"/>')
        body.append(f'<text class="tick" x="{_LEFT - 6}" y="{place + 4:.1f}" text-anchor="end">{_short(y)}</text>')
    for x in xs:
        at = f'x="{_x(x, xs):.1f}" y="{_HEIGHT - _BOTTOM + 16}"'
        body.append(f'<text class="tick" {at} text-anchor="middle">{_short(x)}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    body.append(f'<text class="axis" x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(x_name)}</text>')
    body.append(
        f'<text class="axis" transform="translate(13 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)" '
        f'text-anchor="middle">{escape(y_name)}</text>'
    )
    return body


def _x(value: float, ticks: Sequence[float]) -> float:
    return _LEFT + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (_WIDTH - _LEFT - _RIGHT)


def _y(value: float, ticks: Sequence[float]) -> float:
    return _HEIGHT - _BOTTOM - (value - ticks[0]) / (ticks[-1] - ticks[0]) * (_HEIGHT - _TOP - _BOTTOM)


def scatter(points: list[Point], x_name: str, y_name: str) -> Markup:
    """Cost against quality, with the interval of each."""
    xs = _ticks(0, max(point.x for point in points) * 1.1 or 1)
    ys = _ticks(max(0, min(point.low for point in points) - 2), min(100, max(point.high for point in points) + 2))
    body = _axes(xs, ys, x_name, y_name)
    taken: list[tuple[float, float]] = []
    for number, point in enumerate(points):
        x, y = _x(point.x, xs), _y(point.y, ys)
        body.append(
            f'<g class="s{number % 10}"><title>{escape(point.label)}: {point.y:.1f} ({point.low:.1f} to '
            f"{point.high:.1f}), {point.x:.4g}</title>"
            f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{_y(point.low, ys):.1f}" '
            f'y2="{_y(point.high, ys):.1f}"/><circle cx="{x:.1f}" cy="{y:.1f}" r="6"/></g>'
        )
        # Labels that would lie on one another move down.
        while any(abs(y - other) < 15 and abs(x - at) < 220 for at, other in taken):
            y += 15
        taken.append((x, y))
        right = x < _WIDTH * 0.62
        body.append(
            f'<text class="name" x="{x + 11 if right else x - 11:.1f}" y="{y + 4:.1f}" '
            f'text-anchor="{"start" if right else "end"}">{escape(_brief(point.label))}</text>'
        )
    return _frame(body, f"{y_name} against {x_name}")


def _brief(label: str, most: int = 34) -> str:
    return label if len(label) <= most else f"{label[: most - 1]}…"


_SMALL_WIDTH, _SMALL_HEIGHT = 320, 150


def multiples(series: list[tuple[str, list[int]]], edges: list[float], x_name: str) -> list[tuple[str, Markup]]:
    """A histogram of each variant, all on the same scales."""
    shares = [(label, [count / max(1, sum(counts)) * 100 for count in counts]) for label, counts in series]
    top = max((max(values) for _, values in shares if values), default=1.0) or 1.0
    return [
        (label, _histogram(number, label, values, edges, top, x_name)) for number, (label, values) in enumerate(shares)
    ]


def _histogram(number: int, label: str, values: list[float], edges: list[float], top: float, x_name: str) -> Markup:
    left, right, high, low = 40.0, _SMALL_WIDTH - 8.0, 10.0, _SMALL_HEIGHT - 34.0
    xs, ys = _ticks(edges[0], edges[-1], 4), _ticks(0, top, 3)

    def x(value: float) -> float:
        return left + (value - xs[0]) / (xs[-1] - xs[0]) * (right - left)

    def y(value: float) -> float:
        return low - (value - ys[0]) / (ys[-1] - ys[0]) * (low - high)

    body = []
    for value in ys:
        body.append(f'<line class="grid" x1="{left}" x2="{right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        body.append(
            f'<text class="tick" x="{left - 5}" y="{y(value) + 4:.1f}" text-anchor="end">{_short(value)}</text>'
        )
    for value in xs:
        anchor = "end" if value == xs[-1] else "middle"
        body.append(
            f'<text class="tick" x="{x(value):.1f}" y="{low + 14}" text-anchor="{anchor}">{_short(value)}</text>'
        )
    steps = [f"M{x(edges[0]):.1f} {y(0):.1f}"]
    for place, value in enumerate(values):
        steps.append(f"L{x(edges[place]):.1f} {y(value):.1f}L{x(edges[place + 1]):.1f} {y(value):.1f}")
    steps.append(f"L{x(edges[-1]):.1f} {y(0):.1f}")
    body.append(f'<path class="s{number % 10} step" d="{"".join(steps)}"/>')
    middle = (left + right) / 2
    at = f'x="{middle}" y="{_SMALL_HEIGHT - 4}" text-anchor="middle"'
    body.append(f'<text class="axis" {at}>{escape(x_name)} (% of answers)</text>')
    # All that comes from outside has been escaped where it was put in.
    return Markup(  # noqa: S704
        f'<svg viewBox="0 0 {_SMALL_WIDTH} {_SMALL_HEIGHT}" role="img" '
        f'aria-label="Distribution of {escape(x_name)}: {escape(label)}">{"".join(body)}</svg>'
    )

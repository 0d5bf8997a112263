"""Devices as bars cut in gpulets, as an SVG file that stands by itself, in light and dark."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple

from glet.cli.schedule_picture import WHOLE, Bar, Piece, spans

FONT = "ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace"
# Width of a letter over its size, in the fonts above.
LETTER = 0.62
STYLE = """
text { font-family: %s; font-size: 12px; fill: #24292f; }
.paper { fill: #ffffff; }
.quiet { fill: #57606a; }
.in { fill: #111111; }
.free { fill: #eef1f4; stroke: #d0d7de; }
.busy { fill: #24292f; fill-opacity: 0.6; }
.cut { fill: none; stroke: #57606a; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .paper { fill: #0d1117; }
  .quiet { fill: #9198a1; }
  .in { fill: #111111; }
  .free { fill: #1c2128; stroke: #3d444d; }
  .busy { fill: #e6edf3; fill-opacity: 0.8; }
  .cut { stroke: #0d1117; }
}
"""
MOST_BARS = 256
MARGIN = 16
HEAD = 54
BUSY = 4


class Grid(NamedTuple):
    """Where bars go: `columns` of them, each `width` wide, `height` high, with `label` before."""

    columns: int
    width: int
    height: int
    label: int

    def place(self, index: int, rows: int) -> tuple[float, float]:
        """Left and top of a bar."""
        column, row = divmod(index, rows)
        left = MARGIN + column * (self.label + self.width + 2 * MARGIN) + self.label
        return left, HEAD + row * (self.height + 8)


def svg(drawn: Sequence[Bar], paint: Mapping[str, str], title: str) -> str:
    """The picture; `title` is the line above it. Hovering a gpulet says what it serves."""
    shown = drawn[:MOST_BARS]
    label = 14 + max((len(bar.label) for bar in shown), default=0) * 8
    grid = _grid(len(shown), label)
    rows = -(-len(shown) // grid.columns)
    width = 2 * MARGIN + grid.columns * (grid.label + grid.width) + (grid.columns - 1) * 2 * MARGIN
    height = HEAD + rows * (grid.height + 8) + MARGIN + 4
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE % FONT}</style>",
        f'<rect class="paper" width="{width}" height="{height}"/>',
        f'<text x="{MARGIN}" y="24">{escape(title)}</text>',
        f'<text class="quiet" x="{MARGIN}" y="42">each bar is a device, cut in gpulets; the line '
        "below a gpulet is how much of its time is used</text>",
    ]
    for index, bar in enumerate(shown):
        parts += _bar(bar, grid.place(index, rows), grid, paint)
    if len(drawn) > len(shown):
        count = sum(len(bar.numbers) for bar in drawn[len(shown) :])
        parts.append(
            f'<text class="quiet" x="{MARGIN}" y="{height - 8}">and {count} devices more</text>'
        )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _grid(count: int, label: int) -> Grid:
    if count <= 16:
        return Grid(1, 900, 40, label)
    return Grid(2, 560, 32, label) if count <= 64 else Grid(4, 440, 26, label)


def _bar(bar: Bar, place: tuple[float, float], grid: Grid, paint: Mapping[str, str]) -> list[str]:
    left, top = place
    middle = top + grid.height / 2 + 4
    where = f"device {spans(bar.numbers)} ({bar.type})"
    parts = [
        f'<text class="quiet" x="{left - 8:g}" y="{middle:g}" text-anchor="end">'
        f"{escape(bar.label)}<title>{escape(where)}</title></text>"
    ]
    start_pct = 0
    for piece in bar.pieces:
        x = left + start_pct * grid.width / WHOLE
        box = (x, top, piece.share_pct * grid.width / WHOLE, float(grid.height))
        parts += ["<g>", f"<title>{escape(_hover(piece, where))}</title>"]
        parts += _gpulet(piece, box, paint) if piece.models else _free(piece, box)
        parts.append("</g>")
        start_pct += piece.share_pct
    return parts


Box = tuple[float, float, float, float]
"""left, top, width, height"""


def _gpulet(piece: Piece, box: Box, paint: Mapping[str, str]) -> list[str]:
    """Models that share its time lie one upon the other; under them, how much is used."""
    left, top, width, height = box
    each = (height - BUSY) / len(piece.models)
    size = max(7.0, min(12.0, each - 3.0))
    parts = []
    for index, model in enumerate(piece.models):
        y = top + index * each
        parts.append(_rect(f'fill="{paint[model.model]}"', (left, y, width, each)))
        share = f" {piece.share_pct}%" if index == 0 else ""
        text = _shortened(model.model, share, width, size)
        if text:
            parts.append(
                f'<text class="in" x="{left + 4:g}" y="{y + each / 2 + size * 0.36:g}" '
                f'style="font-size:{size:g}px">{escape(text)}</text>'
            )
    base = top + height - BUSY
    parts.append(_rect('class="paper"', (left, base, width, BUSY)))
    parts.append(_rect('class="busy"', (left, base, width * piece.occupancy, BUSY)))
    parts.append(_rect('class="cut"', box))
    return parts


def _free(piece: Piece, box: Box) -> list[str]:
    left, top, width, height = box
    parts = [_rect('class="free"', box)]
    text = _shortened("free", f" {piece.share_pct}%", width, 12.0)
    if text:
        parts.append(
            f'<text class="quiet" x="{left + 4:g}" y="{top + height / 2 + 4:g}">{text}</text>'
        )
    return parts


def _rect(look: str, box: Box) -> str:
    left, top, width, height = box
    return f'<rect {look} x="{left:g}" y="{top:g}" width="{width:g}" height="{height:g}"/>'


def _shortened(name: str, share: str, width: float, size: float) -> str:
    """Name and share, the name alone, its beginning, or nothing: what the width holds."""
    room = int((width - 6) / (size * LETTER))
    if len(name + share) <= room:
        return name + share
    if len(name) <= room:
        return name
    return f"{name[: room - 1]}…" if room >= 4 else ""


def _hover(piece: Piece, where: str) -> str:
    if not piece.models:
        return f"{where}: {piece.share_pct} % free"
    lines = [f"{where}: gpulet {piece.share_pct} %, busy {piece.occupancy:.0%}"]
    lines += [
        f"{model.model}: {model.rate_rps:g} rps in batches of {model.batch}, "
        f"{model.latency_ms:.2f} of {model.slo_ms:g} ms"
        for model in piece.models
    ]
    return "\n".join(lines)

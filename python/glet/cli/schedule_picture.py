"""Devices as bars, cut in gpulets: what there is to draw, and how it looks on a terminal."""

import colorsys
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rich.style import Style
from rich.text import Text

from glet.plan.assess import Assessment, ServedModel
from glet.plan.problem import Device

WHOLE = 100
# More devices than this are drawn once per layout, with their number.
MOST_SINGLE = 16
MOST_BARS = 24
MOST_CELLS = 100
KEYS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Piece(NamedTuple):
    """Part of a device: a gpulet with its models, or without any what is left free."""

    share_pct: int
    models: tuple[ServedModel, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(model.model for model in self.models)

    @property
    def occupancy(self) -> float:
        return min(1.0, sum(model.occupancy for model in self.models))


class Bar(NamedTuple):
    """One device, or several that are cut alike."""

    numbers: tuple[int, ...]
    type: str
    pieces: tuple[Piece, ...]

    @property
    def label(self) -> str:
        """The device's number, or how many they are."""
        return str(self.numbers[0]) if len(self.numbers) == 1 else f"{len(self.numbers)}x"


def bars(devices: Iterable[Device], found: Assessment, most_single: int) -> list[Bar]:
    """A bar per used device; devices cut alike are one bar when there are more than `most_single`.

    Bars of several devices are ordered by how many they are.
    """
    gpulets: dict[int, list[Piece]] = {}
    for gpulet in found.gpulets:
        if gpulet.models:
            pieces = gpulets.setdefault(gpulet.device, [])
            pieces.append(Piece(gpulet.share_pct, gpulet.models))
    made = []
    for device in devices:
        pieces = gpulets.get(device.number, [])
        free_pct = WHOLE - sum(piece.share_pct for piece in pieces)
        if pieces:
            rest = [Piece(free_pct, ())] if free_pct > 0 else []
            made.append(Bar((device.number,), device.type, (*pieces, *rest)))
    if len(made) <= most_single:
        return made
    alike: dict[object, list[Bar]] = {}
    for bar in made:
        cut = tuple((piece.share_pct, piece.names) for piece in bar.pieces)
        alike.setdefault((bar.type, cut), []).append(bar)
    joined = [
        Bar(tuple(bar.numbers[0] for bar in same), same[0].type, same[0].pieces)
        for same in alike.values()
    ]
    return sorted(joined, key=lambda bar: (-len(bar.numbers), bar.numbers))


def unused(devices: Iterable[Device], drawn: Iterable[Bar]) -> list[int]:
    """Numbers of the devices that have no bar."""
    used = {number for bar in drawn for number in bar.numbers}
    return [device.number for device in devices if device.number not in used]


def spans(numbers: Sequence[int]) -> str:
    """`0, 3-7, 9`; of many spans only the first."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    texts = [f"{low}" if low == high else f"{low}-{high}" for low, high in parts]
    return ", ".join(texts[:6]) + ", ..." * (len(texts) > 6)


def colours(names: Iterable[str]) -> dict[str, str]:
    """A colour `#rrggbb` per model: light enough for black letters, neighbours far apart."""
    made = {}
    for index, name in enumerate(sorted(set(names))):
        # Steps of the golden ratio spread any number of hues; lightness tells near ones apart.
        hue = (0.58 + index * 0.618034) % 1.0
        rgb = colorsys.hls_to_rgb(hue, (0.74, 0.83, 0.68)[index % 3], 0.58)
        made[name] = "#" + "".join(f"{round(255 * part):02x}" for part in rgb)
    return made


def picture(
    drawn: Sequence[Bar], width: int, paint: Mapping[str, str], *, ascii_only: bool = False
) -> list[Text]:
    """Lines for a terminal `width` columns wide: bars, then what the letters in them mean."""
    shown = drawn[:MOST_BARS]
    edge, dot = ("|", ".") if ascii_only else ("│", "·")
    margin = max((len(bar.label) for bar in shown), default=0)
    cells = max(10, min(MOST_CELLS, width - margin - 2))
    keys = _keys(shown, cells)
    lines = [_line(bar, (margin, cells), keys, paint, (edge, dot)) for bar in shown]
    if len(drawn) > len(shown):
        rest = drawn[len(shown) :]
        count = sum(len(bar.numbers) for bar in rest)
        lines.append(Text(f"and {count} devices more, cut in {len(rest)} other ways"))
    if keys:
        legend = Text(overflow="fold")
        for name, key in keys.items():
            legend.append(f"{key} {name}", Style(color=paint[name]))
            legend.append("  ")
        lines.append(legend)
    return lines


def _line(
    bar: Bar,
    sizes: tuple[int, int],
    keys: Mapping[str, str],
    paint: Mapping[str, str],
    signs: tuple[str, str],
) -> Text:
    margin, cells = sizes
    edge, dot = signs
    line = Text(f"{bar.label:>{margin}} ", no_wrap=True, overflow="crop")
    for piece, inside in _insides(bar, cells):
        # Narrower than a column: the next one begins where it does.
        line.append(edge * (inside >= 0))
        if inside < 1:
            continue
        if not piece.models:
            line.append(f"{_fitting(['free', ''], inside):{dot}<{inside}}", Style(dim=True))
            continue
        texts = _texts(piece, inside, keys)
        for name, text in zip(piece.names, texts, strict=True):
            line.append(text, Style(color="black", bgcolor=paint[name]))
    line.append(edge)
    return line


def _insides(bar: Bar, cells: int) -> list[tuple[Piece, int]]:
    """Each piece with its columns, the edge on its left not counted."""
    found = []
    start_pct = 0
    for piece in bar.pieces:
        end_pct = start_pct + piece.share_pct
        inside = round(end_pct * cells / WHOLE) - round(start_pct * cells / WHOLE) - 1
        found.append((piece, inside))
        start_pct = end_pct
    return found


def _texts(piece: Piece, inside: int, keys: Mapping[str, str]) -> list[str]:
    """What stands in the part of each model of a gpulet; together `inside` wide.

    Equal parts with a name in each where that fits, else names or letters one after the other.
    """
    share = f" {piece.share_pct}%"
    names = ["+" * (index > 0) + name for index, name in enumerate(piece.names)]
    letters = ["+" * (i > 0) + keys.get(name, "?") for i, name in enumerate(piece.names)]
    ends = [inside * (index + 1) // len(names) for index in range(len(names))]
    widths = [end - start for start, end in zip((0, *ends), ends, strict=False)]
    for texts in (names, letters):
        for last in (f"{texts[-1]}{share}", texts[-1]):
            parts = [*texts[:-1], last]
            if all(len(part) <= width for part, width in zip(parts, widths, strict=True)):
                return [f"{part:<{width}}" for part, width in zip(parts, widths, strict=True)]
            length = len("".join(parts))
            if length <= inside:
                return [*parts[:-1], parts[-1] + " " * (inside - length)]
    return [" " * width for width in widths]


def _fitting(texts: Sequence[str], inside: int) -> str:
    return next(text for text in texts if len(text) <= inside or not text)


def _keys(drawn: Sequence[Bar], cells: int) -> dict[str, str]:
    """A letter for each model whose name does not fit somewhere."""
    short = {
        name
        for bar in drawn
        for piece, inside in _insides(bar, cells)
        if len("+".join(piece.names)) > inside
        for name in piece.names
    }
    return dict(zip(sorted(short), KEYS, strict=False))

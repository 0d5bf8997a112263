"""Which gpulet of now becomes which of a new plan, so that as little as possible changes."""

from collections.abc import Sequence
from typing import Protocol

from glet.types.plan import ModelShare


class Tenanted(Protocol):
    """Anything with a share of a device and models on it."""

    @property
    def share_pct(self) -> int: ...

    @property
    def models(self) -> tuple[ModelShare, ...]: ...


# Common models count more than any sum of changes of shares (of at most 100 gpulets by 100 %).
_PER_MODEL = 100_000


def match(current: Sequence[Tenanted], wanted: Sequence[Tenanted]) -> dict[int, int]:
    """Index of a wanted gpulet -> index of the current one of the same device that becomes it.

    As many as can be are matched, so that the models in common are most and then the changes of
    share least in sum. What is unchanged is matched with itself: by the triangle inequality no
    other match is better. The rest is an assignment problem, solved by cheapest augmenting paths
    (the Hungarian method; Kuhn 1955, in the form of Jonker and Volgenant 1987, section 2).
    """
    found, rows, columns = _unchanged(current, wanted)
    if not rows or not columns:
        return found
    costs = [[_cost(current[c], wanted[w]) for c in columns] for w in rows]
    if len(rows) <= len(columns):
        pairs = _assign(costs)
    else:
        flipped = _assign([list(column) for column in zip(*costs, strict=True)])
        pairs = {row: column for column, row in flipped.items()}
    return found | {rows[row]: columns[column] for row, column in pairs.items()}


def _unchanged(
    current: Sequence[Tenanted], wanted: Sequence[Tenanted]
) -> tuple[dict[int, int], list[int], list[int]]:
    """Pairs of the same share and models, and what is left: wanted ones, current ones."""
    free = list(range(len(current)))
    found: dict[int, int] = {}
    for exactly in (True, False):
        for index, gpulet in enumerate(wanted):
            if index in found:
                continue
            same = [c for c in free if _is_same(current[c], gpulet, exactly=exactly)]
            if same:
                found[index] = same[0]
                free.remove(same[0])
    return found, [index for index in range(len(wanted)) if index not in found], free


def _is_same(one: Tenanted, other: Tenanted, *, exactly: bool) -> bool:
    if one.share_pct != other.share_pct:
        return False
    if exactly:
        return one.models == other.models
    return _names(one) == _names(other)


def _names(gpulet: Tenanted) -> set[str]:
    return {share.model for share in gpulet.models}


def _cost(current: Tenanted, wanted: Tenanted) -> int:
    common = len(_names(current) & _names(wanted))
    return abs(current.share_pct - wanted.share_pct) - _PER_MODEL * common


def _assign(costs: list[list[int]]) -> dict[int, int]:
    """The cheapest column for every row, each column once; at least as many columns as rows."""
    count = len(costs[0])
    row_price = [0] * len(costs)
    column_price = [0] * (count + 1)
    # Column `count` stands for the row that looks for a place.
    owner: list[int | None] = [None] * (count + 1)
    for row in range(len(costs)):
        owner[count] = row
        came_from = _cheapest_path(costs, row_price, column_price, owner)
        column = came_from.pop(-1)
        while column != count:
            owner[column] = owner[came_from[column]]
            column = came_from[column]
    return {row: c for c, row in enumerate(owner[:count]) if row is not None}


def _cheapest_path(
    costs: list[list[int]],
    row_price: list[int],
    column_price: list[int],
    owner: list[int | None],
) -> dict[int, int]:
    """Column -> the column before it on the way to a free one, which is under key -1."""
    count = len(costs[0])
    far = float("inf")
    slack: list[float] = [far] * count
    came_from: dict[int, int] = {}
    seen: list[int] = [count]
    column = count
    while (row := owner[column]) is not None:
        for other in range(count):
            reduced = costs[row][other] - row_price[row] - column_price[other]
            if other not in seen and reduced < slack[other]:
                slack[other], came_from[other] = reduced, column
        best = min((c for c in range(count) if c not in seen), key=lambda c: slack[c])
        step = int(slack[best])
        for known in seen:
            taken_by = owner[known]
            if taken_by is not None:
                row_price[taken_by] += step
            column_price[known] -= step
        slack = [far if s == far else s - step for s in slack]
        seen.append(best)
        column = best
    return {**came_from, -1: column}

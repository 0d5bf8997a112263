"""Which pairs of gpulets to measure together. Pure: the same question, the same pairs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations_with_replacement, product

import numpy as np

from glet.profiles.interference import Tenant

Pairing = tuple[Tenant, Tenant]

MOST_SPLITS = 5
# No name for a model: the probe that shows what a model draws of the memory's bandwidth.
PROBE = "(probe)"


def splits(shares_pct: Sequence[int]) -> list[tuple[int, int]]:
    """Two shares that fill a device as far as these shares can: each with the largest that fits.

    At most `MOST_SPLITS`, from the most uneven to the most even; none when no two fit.
    """
    found = sorted(
        {
            tuple(sorted((share, max(rest))))
            for share in shares_pct
            if (rest := [other for other in shares_pct if share + other <= 100])
        }
    )
    at = np.linspace(0, len(found) - 1, min(len(found), MOST_SPLITS)).round().astype(int)
    return [(found[index][0], found[index][1]) for index in at]


def every_pairing(
    batches: Mapping[str, Sequence[int]], shares_pct: Sequence[int]
) -> Iterator[Pairing]:
    """Every two models (a model beside itself too) at every split, of each model the smallest,
    middle and largest of its `batches`."""
    levels = {model: _levels(sizes) for model, sizes in batches.items()}
    for first, second in combinations_with_replacement(sorted(levels), 2):
        for small, large in splits(shares_pct):
            ways = {(small, large), (large, small)} if first != second else {(small, large)}
            for (mine, its), one, two in product(sorted(ways), levels[first], levels[second]):
                if first == second and mine == its and one > two:
                    continue
                yield Tenant(first, one, mine), Tenant(second, two, its)


def choose_pairings(
    batches: Mapping[str, Sequence[int]], shares_pct: Sequence[int], count: int | None, seed: int
) -> list[Pairing]:
    """`count` of every_pairing(), or all (None).

    One after the other the one that has been seen least: first its two models together, then each
    of them, then each at that batch and share. More pairs begin with the same ones. `seed` decides
    between equals.
    """
    left = list(every_pairing(batches, shares_pct))
    if count is None or count >= len(left):
        return left
    left = [left[index] for index in np.random.default_rng(seed).permutation(len(left))]
    seen: Counter[object] = Counter()
    chosen: list[Pairing] = []
    for _ in range(count):
        best = min(left, key=lambda pairing: _seen(pairing, seen))
        left.remove(best)
        chosen.append(best)
        seen.update(_marks(best))
    return chosen


def probings(batches: Mapping[str, Sequence[int]], shares_pct: Sequence[int]) -> list[Pairing]:
    """Every model at its smallest, middle and largest batch beside the probe, at the most even
    split, the model on the larger share; none when no two shares fit."""
    found = splits(shares_pct)
    return [
        (Tenant(model, batch, found[-1][1]), Tenant(PROBE, 1, found[-1][0]))
        for model in sorted(batches if found else ())
        for batch in _levels(batches[model])
    ]


def _levels(sizes: Iterable[int]) -> list[int]:
    ordered = sorted(sizes)
    return sorted({ordered[0], ordered[(len(ordered) - 1) // 2], ordered[-1]})


def _marks(pairing: Pairing) -> list[object]:
    one, two = pairing
    return [(one.model, two.model), one.model, two.model, one, two]


def _seen(pairing: Pairing, seen: Counter[object]) -> tuple[int, int, int]:
    together, one_model, two_model, one, two = _marks(pairing)
    return seen[together], seen[one_model] + seen[two_model], seen[one] + seen[two]

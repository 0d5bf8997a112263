"""What was measured of one type of device: latency, memory and bandwidth demand of its models."""

import copy
from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from glet.config.load import nearest
from glet.errors import ProfileError
from glet.profiles.csv_table import MOST_BATCH

Latencies = Mapping[int, Mapping[int, float]]
"""{share_pct: {batch: latency_ms}}"""


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch uses of the whole device while it runs there alone: fractions, 0 to 1."""

    l2: float = 0.0
    dram: float = 0.0


class ModelProfile:
    """One model on one type of device.

    Latency is exact at every measured (share, batch) and monotone: more requests in a batch are
    never said to be faster, a larger share never slower. Measurements that contradict that are
    raised to the largest of those that should be faster; `raised` counts them. Between batches
    latency is linear in the batch, between shares linear in 1 / share, because work on part of a
    device takes inversely as long; both only as far as the measurements around leave room. Below
    the smallest measured batch its latency holds. Beyond the largest batch that all shares have,
    and outside the measured shares, nothing is known: ProfileError.

    A share that was measured at its largest batch B only lies between the smallest and the largest
    share at smaller batches as it does at B: L(b, p) = L(b, max) + f (L(b, min) - L(b, max)) with
    f = (L(B, p) - L(B, max)) / (L(B, min) - L(B, max)) (Choi et al., ATC 2022, public prototype).
    """

    def __init__(
        self,
        name: str,
        latencies: Latencies,
        *,
        memory_mb: float = 0.0,
        demands: Mapping[int, Demand] | None = None,
    ) -> None:
        """`demands` by batch. Raises ProfileError where there is nothing, or no latency."""
        self.name = name
        self.memory_mb = memory_mb
        self.shares = tuple(sorted(latencies))
        if not self.shares or any(not points for points in latencies.values()):
            raise ProfileError(f"profile of {name!r} has no latencies")
        _check(name, latencies)
        self.max_batch = min(max(points) for points in latencies.values())
        self._demands = dict(sorted((demands or {}).items()))
        measured = _measured(self.shares, latencies)
        least = _least(measured)
        # Where measured, `least` is the measurement raised to what it has to be.
        points = np.where(np.isnan(measured), np.nan, least)
        most = _most(points)
        rows = _filled(points, self.max_batch)
        grid = _least(np.clip(rows, least, most))[:, : self.max_batch]
        self._grid = np.ascontiguousarray(grid)
        # Not a number compares false.
        raised = least > measured * (1.0 + 1e-9)
        self.raised = int(np.count_nonzero(raised[:, : self.max_batch]))

    def adjusted(self, factor: float, max_batch: int = 0) -> "ModelProfile":
        """The same with latencies times `factor`, and no batch above `max_batch` where that is set.

        Raises ProfileError for a factor that is not above 0.
        """
        if not 0.0 < factor < np.inf:
            raise ProfileError(f"profile of {self.name!r}: factor {factor:g}; valid is above 0")
        if factor == 1.0 and (not max_batch or max_batch >= self.max_batch):
            return self
        other = copy.copy(self)
        other.max_batch = min(self.max_batch, max_batch or self.max_batch)
        other._grid = np.ascontiguousarray(self._grid[:, : other.max_batch] * factor)
        return other

    def latency_ms(self, share_pct: float, batch: int) -> float:
        """Latency of a batch. Raises ProfileError outside what was measured."""
        if not 1 <= batch <= self.max_batch:
            raise ProfileError(
                f"profile of {self.name!r} has no batch {batch}; valid is 1..{self.max_batch}"
            )
        return float(self.tables((share_pct,))[0, batch - 1])

    def tables(self, shares: Sequence[float]) -> NDArray[np.float64]:
        """Latencies in ms, shape (len(shares), max_batch): row i is batch 1.. at shares[i]."""
        wanted = np.asarray(shares, dtype=np.float64)
        smallest, largest = self.shares[0], self.shares[-1]
        outside = wanted[~((wanted >= smallest) & (wanted <= largest))]
        if outside.size:
            raise ProfileError(
                f"profile of {self.name!r} has no share of {outside[0]:g} %; "
                f"valid is {smallest}..{largest} %"
            )
        measured = np.asarray(self.shares, dtype=np.float64)
        low = np.clip(np.searchsorted(measured, wanted, side="right") - 1, 0, None)
        high = np.minimum(low + 1, len(measured) - 1)
        span = 1.0 / measured[low] - 1.0 / measured[high]
        way = 1.0 / measured[low] - 1.0 / wanted
        part = np.divide(way, span, out=np.zeros_like(way), where=span > 0)[:, None]
        slower, faster = self._grid[low], self._grid[high]
        # Rounding must not undo the order: never below the larger share, never falling.
        between = np.maximum(slower + part * (faster - slower), faster)
        return np.asarray(np.maximum.accumulate(between, axis=1))

    def demand(self, batch: int) -> Demand:
        """Linear between the batches that were measured, flat outside; zero where none was."""
        if not self._demands:
            return Demand()
        batches = list(self._demands)
        return Demand(
            l2=float(np.interp(batch, batches, [d.l2 for d in self._demands.values()])),
            dram=float(np.interp(batch, batches, [d.dram for d in self._demands.values()])),
        )


class DeviceProfile:
    """All models on one type of device.

    `where` names in errors the file that would hold a model; `<model>` in it stands for the name.
    `shares` are the percentages that a gpulet can have, ascending; without, all that were measured.
    """

    def __init__(
        self,
        type_name: str,
        models: Mapping[str, ModelProfile],
        *,
        memory_mb: float,
        where: str,
        shares: Sequence[int] = (),
    ) -> None:
        self.type = type_name
        self.memory_mb = memory_mb
        self.where = where
        self._models = dict(sorted(models.items()))
        measured = {share for model in models.values() for share in model.shares}
        self.shares = tuple(sorted({*shares} or measured))

    def models(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(self._models)

    def model(self, name: str) -> ModelProfile:
        """Raises ProfileError that names the file in which the model would be."""
        if name not in self._models:
            where = self.where.replace("<model>", name)
            raise ProfileError(f"{where}: has no model {name!r}; {nearest(name, self._models)}")
        return self._models[name]


def model_profiles(
    latencies: Mapping[str, Latencies],
    memory_mb: Mapping[str, float],
    demands: Mapping[str, Mapping[int, Demand]],
) -> dict[str, ModelProfile]:
    """Profiles by name of measured latencies, with memory and demands where they are known."""
    return {
        model: ModelProfile(
            model,
            points,
            memory_mb=memory_mb.get(model, 0.0),
            demands=demands.get(model),
        )
        for model, points in latencies.items()
    }


def _check(name: str, latencies: Latencies) -> None:
    for share, points in latencies.items():
        for batch, latency_ms in points.items():
            if not (1 <= share <= 100 and 1 <= batch <= MOST_BATCH and 0.0 < latency_ms < np.inf):
                raise ProfileError(
                    f"profile of {name!r}: share {share} %, batch {batch}, {latency_ms} ms; valid "
                    f"is a share of 1..100 %, a batch of 1..{MOST_BATCH} and a latency above 0"
                )


def _measured(shares: Sequence[int], latencies: Latencies) -> NDArray[np.float64]:
    """Latencies [share, batch - 1] up to the largest batch of any share, NaN where not measured."""
    grid = np.full((len(shares), max(max(points) for points in latencies.values())), np.nan)
    for row, share in zip(grid, shares, strict=True):
        for batch, latency_ms in latencies[share].items():
            row[batch - 1] = latency_ms
    return grid


def _least(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """At each place the largest value of those that should be faster or equal; 0 with none."""
    known = np.nan_to_num(grid, nan=0.0)
    along = np.maximum.accumulate(known, axis=1)
    return np.asarray(np.maximum.accumulate(along[::-1], axis=0)[::-1])


def _most(grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """At each place the smallest value of those that should be slower or equal."""
    known = np.where(np.isnan(grid), np.inf, grid)
    along = np.minimum.accumulate(known[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(np.minimum.accumulate(along, axis=0))


def _filled(points: NDArray[np.float64], max_batch: int) -> NDArray[np.float64]:
    """Every row linear between its points; one with only its last is filled from two others."""
    batches = np.arange(points.shape[1])
    known = [np.flatnonzero(~np.isnan(row)) for row in points]
    rows = np.array(
        [np.interp(batches, at, row[at]) for at, row in zip(known, points, strict=True)]
    )
    curves = [index for index, at in enumerate(known) if len(at) > 1]
    for index, at in enumerate(known):
        top = max_batch - 1
        if len(at) == 1 and at[0] == top and curves and curves[0] < index < curves[-1]:
            small, large = rows[curves[0]], rows[curves[-1]]
            span = small[top] - large[top]
            part = np.clip((rows[index, top] - large[top]) / span, 0.0, 1.0) if span > 0 else 0.0
            between = large + part * (small - large)
            rows[index, :top] = np.minimum(between, rows[index, top])[:top]
    return rows

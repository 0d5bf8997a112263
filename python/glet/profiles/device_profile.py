"""What was measured of one type of device: latency, memory and bandwidth demand of its models."""

from collections.abc import Mapping, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from glet.config.load import nearest
from glet.errors import ProfileError

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
    device takes inversely as long. Below the smallest measured batch its latency holds. Beyond the
    largest batch and outside the measured shares nothing is known: ProfileError.
    """

    def __init__(
        self,
        name: str,
        latencies: Latencies,
        *,
        memory_mb: float = 0.0,
        demands: Mapping[int, Demand] | None = None,
    ) -> None:
        """`demands` by batch. Raises ProfileError when there is nothing, or no common batch."""
        self.name = name
        self.memory_mb = memory_mb
        self.shares = tuple(sorted(latencies))
        if not self.shares or any(not points for points in latencies.values()):
            raise ProfileError(f"profile of {name!r} has no latencies")
        self.max_batch = min(max(points) for points in latencies.values())
        self._demands = dict(sorted((demands or {}).items()))
        measured = np.array([self._row(latencies[share]) for share in self.shares])
        # Index [share, batch - 1]; never falling along batches, never rising along shares.
        self._grid = np.maximum.accumulate(measured, axis=1)
        self._grid = np.maximum.accumulate(self._grid[::-1], axis=0)[::-1]
        self.raised = sum(
            bool(self._grid[i, batch - 1] > latency_ms * (1.0 + 1e-9))
            for i, share in enumerate(self.shares)
            for batch, latency_ms in latencies[share].items()
            if batch <= self.max_batch
        )

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
        outside = wanted[(wanted < smallest) | (wanted > largest)]
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
        return np.asarray(self._grid[low] + part * (self._grid[high] - self._grid[low]))

    def demand(self, batch: int) -> Demand:
        """Linear between the batches that were measured, flat outside; zero where none was."""
        if not self._demands:
            return Demand()
        batches = list(self._demands)
        return Demand(
            l2=float(np.interp(batch, batches, [d.l2 for d in self._demands.values()])),
            dram=float(np.interp(batch, batches, [d.dram for d in self._demands.values()])),
        )

    def _row(self, points: Mapping[int, float]) -> NDArray[np.float64]:
        batches = sorted(points)
        values = [points[batch] for batch in batches]
        return np.interp(np.arange(1, self.max_batch + 1), batches, values)


class DeviceProfile:
    """All models on one type of device. `where` names the file or folder in errors."""

    def __init__(
        self, type_name: str, models: Mapping[str, ModelProfile], *, memory_mb: float, where: str
    ) -> None:
        self.type = type_name
        self.memory_mb = memory_mb
        self.where = where
        self._models = dict(sorted(models.items()))

    def models(self) -> tuple[str, ...]:
        """Names, sorted."""
        return tuple(self._models)

    def model(self, name: str) -> ModelProfile:
        """Raises ProfileError that names the file in which the model would be."""
        if name not in self._models:
            raise ProfileError(
                f"{self.where}: has no model {name!r}; {nearest(name, self._models)}"
            )
        return self._models[name]

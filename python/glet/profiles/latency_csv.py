"""`latency.csv`: latency by model, share and batch; `model,share,batch,latency_ms`, no header."""

import math
from bisect import bisect_left
from pathlib import Path

from glet.config.load import read_text
from glet.errors import ConfigError, ProfileError

COLUMNS = "model,share,batch,latency_ms"


class LatencyProfile:
    """Measured latencies in milliseconds: {model: {share_pct: {batch: latency_ms}}}."""

    def __init__(self, measured: dict[str, dict[int, dict[int, float]]]) -> None:
        self._measured = measured

    def models(self) -> list[str]:
        """Names of all models in the profile, sorted."""
        return sorted(self._measured)

    def shares(self, model: str) -> list[int]:
        """Shares in percent at which the model was measured, sorted."""
        return sorted(self._model(model))

    def latency_ms(self, model: str, share_pct: int, batch: int) -> float:
        """Latency of a batch: exact where measured, linear between batches.

        A share that was measured at its largest batch only is filled from the smallest and the
        largest share (gpulet, ATC 2022). Raises ProfileError outside what was measured; below the
        smallest measured batch its latency holds.
        """
        shares = self._model(model)
        points = shares.get(share_pct)
        if points is None:
            raise ProfileError(
                f"profile of {model!r} has no share of {share_pct} %; "
                f"measured are {', '.join(str(share) for share in sorted(shares))}"
            )
        small, large = shares[min(shares)], shares[max(shares)]
        top = max(large)
        if set(points) != {top} or top == min(large):
            return _between(model, points, batch)
        span = _between(model, small, top) - large[top]
        factor = (points[top] - large[top]) / span if span else 0.0
        at_large = _between(model, large, batch)
        return at_large + factor * (_between(model, small, batch) - at_large)

    def table(self, model: str, share_pct: int, max_batch: int) -> list[tuple[int, float]]:
        """Points (batch, latency_ms) 1..max_batch, never decreasing. Raises ProfileError."""
        points: list[tuple[int, float]] = []
        slowest = 0.0
        for batch in range(1, max_batch + 1):
            slowest = max(slowest, self.latency_ms(model, share_pct, batch))
            points.append((batch, slowest))
        return points

    def _model(self, model: str) -> dict[int, dict[int, float]]:
        if model not in self._measured:
            raise ProfileError(
                f"profile has no model {model!r}; it has {', '.join(self.models()) or 'none'}"
            )
        return self._measured[model]


def read(path: Path) -> LatencyProfile:
    """The profile in a file. Raises ConfigError `file:line: what is wrong; what is valid`."""
    return parse(read_text(path), str(path))


def parse(text: str, where: str) -> LatencyProfile:
    """Like read(), for text; `where` names its origin in errors."""
    measured: dict[str, dict[int, dict[int, float]]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        model, share_pct, batch, latency_ms = _line(line, f"{where}:{number}")
        points = measured.setdefault(model, {}).setdefault(share_pct, {})
        if batch in points:
            raise ConfigError(f"{where}:{number}: {model},{share_pct},{batch} is there twice")
        points[batch] = latency_ms
    if not measured:
        raise ConfigError(f"{where}: is empty; valid are lines {COLUMNS}")
    return LatencyProfile(measured)


def _line(line: str, at: str) -> tuple[str, int, int, float]:
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != 4 or not cells[0]:
        raise ConfigError(f"{at}: is {line!r}; valid is {COLUMNS}")
    try:
        share_pct, batch, latency_ms = int(cells[1]), int(cells[2]), float(cells[3])
    except ValueError as error:
        raise ConfigError(f"{at}: is {line!r}; valid is {COLUMNS}") from error
    if not 1 <= share_pct <= 100:
        raise ConfigError(f"{at}: share is {share_pct}; valid is 1..100 percent")
    if batch < 1:
        raise ConfigError(f"{at}: batch is {batch}; valid is 1 or more")
    if not (math.isfinite(latency_ms) and latency_ms > 0):
        raise ConfigError(f"{at}: latency_ms is {cells[3]}; it must be above 0")
    return cells[0], share_pct, batch, latency_ms


def _between(model: str, points: dict[int, float], batch: int) -> float:
    batches = sorted(points)
    if not 1 <= batch <= batches[-1]:
        raise ProfileError(
            f"profile of {model!r} has no batch {batch}; measured are {batches[0]}..{batches[-1]}"
        )
    at = bisect_left(batches, batch)
    if at == 0:
        return points[batches[0]]
    low, high = batches[at - 1], batches[at]
    return points[low] + (points[high] - points[low]) * (batch - low) / (high - low)

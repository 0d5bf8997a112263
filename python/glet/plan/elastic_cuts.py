"""How elastic partitioning cuts a type of device, and what shares it finds ideal for a model."""

from glet.plan.fit import EPSILON
from glet.plan.menu import Menu

# A step of share that brings less throughput than this is not worth it.
GAIN = 1.05
# Steps of fewer percent say more about whole batches than about the model; published ones are 10.
STEP_PCT = 10


class Cuts:
    """The gpulets that devices of one type are cut into: whole, or two that make a whole.

    Shares are named by their index in the type's shares.
    """

    def __init__(self, menu: Menu) -> None:
        self.menu = menu
        places = {share: index for index, share in enumerate(menu.shares)}
        self.whole = len(menu.shares) - 1
        halves = {
            index: places[100 - share]
            for share, index in places.items()
            if 100 - share in places and menu.rules.max_gpulets > 1
        }
        self.rest = halves
        """Of a cut: what it leaves. The whole leaves nothing."""
        self.sizes = sorted({*halves, self.whole})
        self._knees: dict[str, int] = {}

    def ideal(self, model: str, rate_rps: float) -> int:
        """The knee, or the smallest size that carries all of the rate if that is smaller."""
        rates = self.menu.lone_rps[model]
        knee = self.knee(model)
        for size in self.sizes:
            if size >= knee or rates[size] * (1.0 + EPSILON) >= rate_rps:
                return size
        return knee

    def knee(self, model: str) -> int:
        """The end of the step, of those that gain 5 %, with most throughput per percent.

        Without such a step the smallest size that serves the model at all.
        """
        found = self._knees.get(model)
        if found is None:
            found = self._knees[model] = self._find_knee(model)
        return found

    def share_needed(self, model: str, rate_rps: float) -> int:
        """Percent, in all, of the gpulets that are estimated for a rate."""
        rates, shares = self.menu.lone_rps[model], self.menu.shares
        knee = self.knee(model)
        count = int(min(rate_rps / rates[knee], 1e6))
        rest_rps = rate_rps - count * rates[knee]
        rest = shares[self.ideal(model, rest_rps)] if rest_rps > 0.0 else 0
        return count * shares[knee] + rest

    def _find_knee(self, model: str) -> int:
        rates, shares = self.menu.lone_rps[model], self.menu.shares
        serving = [size for size in self.sizes if rates[size] > 0.0]
        best, most = serving[0], 0.0
        low = serving[0]
        for high in serving[1:]:
            step_pct = shares[high] - shares[low]
            if step_pct < STEP_PCT:
                continue
            gain = (rates[high] - rates[low]) / step_pct
            if rates[high] >= GAIN * rates[low] and gain > most * (1.0 + EPSILON):
                best, most = high, gain
            low = high
        return best

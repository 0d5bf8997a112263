"""A device while it is planned: its gpulets, what is free, and whether a change of them holds."""

from collections.abc import Sequence
from typing import NamedTuple

from glet.plan.assess import memory_limit_mb, slowdowns
from glet.plan.fit import Fit
from glet.plan.menu import Menu, Parts
from glet.profiles.interference import Tenant

SETTLING_ROUNDS = 3
CLOSE = 1.0 + 1e-9


class Slot(NamedTuple):
    """A gpulet: its share as an index, who shares it, how they fit, and for what slowdown."""

    size: int
    parts: Parts
    fit: Fit
    factor: float = 1.0

    def has(self, model: str) -> bool:
        return any(name == model for name, _ in self.parts)

    def rate_of(self, model: str) -> float:
        return sum(rate for name, rate in self.parts if name == model)


class Space:
    """One device. Slots are values: a change makes new ones, and is taken only when all fit."""

    def __init__(self, number: int, menu: Menu) -> None:
        self.number = number
        self.menu = menu
        self.slots: tuple[Slot, ...] = ()
        self.free_pct = 100
        self._limit_mb = memory_limit_mb(menu.type, menu.rules) * CLOSE

    def copy(self) -> "Space":
        other = Space(self.number, self.menu)
        other.slots, other.free_pct = self.slots, self.free_pct
        return other

    def share_of(self, slot: Slot) -> int:
        """Percent."""
        return self.menu.shares[slot.size]

    @property
    def used_pct(self) -> int:
        return 100 - self.free_pct

    def put(self, slot: Slot) -> bool:
        """Adds a gpulet if everything still fits."""
        return self.set((*self.slots, slot))

    def change(self, place: int, slot: Slot) -> bool:
        """Puts another slot in the place of one if everything still fits."""
        return self.set((*self.slots[:place], slot, *self.slots[place + 1 :]))

    def drop(self, place: int) -> Slot:
        """Takes a gpulet away; neighbours keep the slowdown they were planned for."""
        slot = self.slots[place]
        self.slots = (*self.slots[:place], *self.slots[place + 1 :])
        self.free_pct += self.share_of(slot)
        return slot

    def set(self, slots: Sequence[Slot]) -> bool:
        """Takes these slots for the device's if their shares, memory and latencies hold."""
        total_pct = sum(self.menu.shares[slot.size] for slot in slots)
        if total_pct > 100 or len(slots) > self.menu.rules.max_gpulets:
            return False
        if not self._memory_holds(slots):
            return False
        settled = self._settle(slots) if self.menu.disturbed else tuple(slots)
        if settled is None:
            return False
        self.slots, self.free_pct = settled, 100 - total_pct
        return True

    def _memory_holds(self, slots: Sequence[Slot]) -> bool:
        memory, rules = self.menu.memory_mb, self.menu.rules.memory
        if rules.shared_weights:
            names = {name for slot in slots for name, _ in slot.parts}
            needed = rules.process_mb * bool(slots) + sum(memory[name] for name in names)
        else:
            needed = rules.process_mb * len(slots)
            for slot in slots:
                for name, _ in slot.parts:
                    needed += memory[name]
        return needed <= self._limit_mb

    def _settle(self, slots: Sequence[Slot]) -> tuple[Slot, ...] | None:
        """The slots with batches that hold under the slowdown that those batches cause."""
        now = list(slots)
        for _ in range(SETTLING_ROUNDS):
            tenants = [self._tenants(slot) for slot in now]
            steady = True
            for place, slot in enumerate(now):
                factor = self._slowdown(tenants, place)
                if factor <= slot.factor * CLOSE:
                    continue
                steady = False
                fit = self.menu.fit(slot.parts, slot.size, factor)
                if fit is None:
                    return None
                now[place] = Slot(slot.size, slot.parts, fit, factor)
            if steady:
                return tuple(now)
        return None

    def _slowdown(self, tenants: Sequence[Sequence[Tenant]], place: int) -> float:
        others = [*tenants[:place], *tenants[place + 1 :]]
        return slowdowns(self.menu.type.interference, tenants[place], others)

    def _tenants(self, slot: Slot) -> list[Tenant]:
        share_pct = self.menu.shares[slot.size]
        return [
            Tenant(name, batch, share_pct)
            for (name, _), batch in zip(slot.parts, slot.fit.batches, strict=True)
        ]

"""From one plan to the next in ordered steps: what is made comes before what is broken."""

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from glet.errors import ArgumentError
from glet.plan.match import match
from glet.types.plan import GpuletPlan, ModelShare, Plan

StepKind = Literal["create", "resize", "load", "switch", "drain", "unload", "release"]
Key = tuple[int, int, int]
"""Device, share_pct and dedup: what a gpulet is called."""


class PlanStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a reorganisation, on the gpulet that is called `share_pct`, `dedup` by then.

    create: the gpulet is there, without models. resize: it becomes `to_share_pct`, `to_dedup` and
    serves on. load: `model` can run there. switch: `model` gets requests there, by `share`.
    drain: it gets none any more, what waits is finished; unload: it is gone from there.
    release: the gpulet, without models by then, gives its share back.
    """

    kind: StepKind
    device: int
    share_pct: int
    dedup: int
    model: str = ""
    to_share_pct: int | None = None
    to_dedup: int | None = None
    share: ModelShare | None = None


def diff(current: Plan, wanted: Plan, *, overlaps: bool = False) -> tuple[PlanStep, ...]:
    """The steps that make `wanted` of `current`; none for what is the same in both.

    `overlaps`: whether shares of a device may exceed 100 % for the moment of a change, as cores of
    a CPU may. Otherwise what finds no room waits: gpulets shrink first, then the one whose loss
    leaves the fewest models without a gpulet is drained and released, until the next fits. All
    devices count: nothing is broken anywhere before all that has room is made everywhere.

    Both plans have to be free of plan.problems(). Resizing keeps the models of a gpulet running,
    so it is preferred to releasing and creating (`plan.match`).
    """
    change = _Change(current, wanted, overlaps)
    while not change.make():
        if not change.shrink() and not change.make_room():
            raise ArgumentError("a plan's shares add up to more than 100 % of a device")
    change.finish()
    return tuple(change.steps)


def applied(plan: Plan, steps: Iterable[PlanStep]) -> Plan:
    """What is served after these steps: gpulets with the models that get requests there.

    In the order of canonical(). Raises ArgumentError for a step that does not fit what is there.
    """
    there = _named(plan.gpulets)
    for step in steps:
        _apply(there, step)
    gpulets = (_gpulet(key, models) for key, models in there.items())
    return Plan(gpulets=_sorted(gpulets), unmet=plan.unmet)


def canonical(plan: Plan) -> Plan:
    """The same plan for whoever executes it: in one order, with `dedup` counted from 0 in it.

    `dedup` only tells gpulets apart; two plans that differ in nothing else are one.
    """
    gpulets: list[GpuletPlan] = []
    for gpulet in sorted(plan.gpulets, key=_place):
        like = [g for g in gpulets if (g.device, g.share_pct) == (gpulet.device, gpulet.share_pct)]
        models = tuple(sorted(gpulet.models, key=lambda share: share.model))
        gpulets.append(msgspec.structs.replace(gpulet, dedup=len(like), models=models))
    return Plan(gpulets=tuple(gpulets), unmet=plan.unmet)


class _Gpulet:
    """A gpulet on its way: what it is called and runs by now, and what it should become."""

    def __init__(self, key: Key, models: Sequence[ModelShare], wanted: GpuletPlan | None) -> None:
        self.key = key
        self.models = {share.model: share for share in models}
        self.wanted = wanted
        self.is_there = True

    @property
    def growth_pct(self) -> int:
        """What its share has to change by; 0 for one that is not wanted any more."""
        if self.wanted is None:
            return 0
        return self.wanted.share_pct - (self.key[1] if self.is_there else 0)


class _Change:
    """The state between two plans, and the steps so far."""

    def __init__(self, current: Plan, wanted: Plan, overlaps: bool) -> None:
        self.steps: list[PlanStep] = []
        self._overlaps = overlaps
        self._gpulets: list[_Gpulet] = []
        for device in sorted({g.device for g in (*current.gpulets, *wanted.gpulets)}):
            self._pair(current.on_device(device), wanted.on_device(device))

    def _pair(self, current: Sequence[GpuletPlan], wanted: Sequence[GpuletPlan]) -> None:
        pairs = match(current, wanted)
        becomes = {now: wanted[then] for then, now in pairs.items()}
        for index, gpulet in enumerate(current):
            self._gpulets.append(_Gpulet(_key(gpulet), gpulet.models, becomes.get(index)))
        for index, gpulet in enumerate(wanted):
            if index not in pairs:
                new = _Gpulet(_key(gpulet), (), gpulet)
                new.is_there = False
                self._gpulets.append(new)

    def make(self) -> bool:
        """Makes all that has room; whether nothing waits for room any more."""
        waiting = False
        for gpulet in self._gpulets:
            if gpulet.wanted is None:
                continue
            if gpulet.growth_pct > self._free_pct(gpulet.key[0]):
                waiting = True
                continue
            if not gpulet.is_there:
                gpulet.key = self._name(gpulet.wanted)
                gpulet.is_there = True
                self._step("create", gpulet)
            elif gpulet.growth_pct > 0:
                self._resize(gpulet, gpulet.wanted)
            self._serve(gpulet, gpulet.wanted)
        return not waiting

    def shrink(self) -> bool:
        """Makes smaller what has to be, where something waits for room; whether anything was."""
        shrunk = False
        short = self._short()
        for gpulet in self._gpulets:
            if gpulet.key[0] in short and gpulet.wanted is not None and gpulet.growth_pct < 0:
                self._resize(gpulet, gpulet.wanted)
                shrunk = True
        return shrunk

    def make_room(self) -> bool:
        """Releases one gpulet where something waits for room; whether there was one."""
        short = self._short()
        surplus = [g for g in self._gpulets if g.wanted is None and g.key[0] in short]
        if not surplus:
            return False
        self._release(min(surplus, key=lambda g: (self._lost(g), g.key)))
        return True

    def finish(self) -> None:
        """Ends what is not wanted any more."""
        for gpulet in list(self._gpulets):
            if gpulet.wanted is None:
                self._release(gpulet)
                continue
            for name in gpulet.models.keys() - {share.model for share in gpulet.wanted.models}:
                self._end(gpulet, name)
            if gpulet.growth_pct:
                self._resize(gpulet, gpulet.wanted)

    def _short(self) -> set[int]:
        """Devices on which something waits for room."""
        return {g.key[0] for g in self._gpulets if g.growth_pct > self._free_pct(g.key[0])}

    def _free_pct(self, device: int) -> int:
        if self._overlaps:
            return 100
        return 100 - sum(g.key[1] for g in self._gpulets if g.is_there and g.key[0] == device)

    def _lost(self, gpulet: _Gpulet) -> int:
        """How many models that stay wanted nobody serves without this gpulet."""
        others = {name for g in self._gpulets if g is not gpulet for name in g.models}
        wanted = {s.model for g in self._gpulets if g.wanted is not None for s in g.wanted.models}
        return len((gpulet.models.keys() & wanted) - others)

    def _serve(self, gpulet: _Gpulet, wanted: GpuletPlan) -> None:
        for share in wanted.models:
            there = gpulet.models.get(share.model)
            if there == share:
                continue
            if there is None:
                self._step("load", gpulet, share.model)
            self._step("switch", gpulet, share.model, share)
            gpulet.models[share.model] = share

    def _resize(self, gpulet: _Gpulet, wanted: GpuletPlan) -> None:
        before, gpulet.key = gpulet.key, self._name(wanted)
        self.steps.append(
            PlanStep(
                kind="resize",
                device=before[0],
                share_pct=before[1],
                dedup=before[2],
                to_share_pct=gpulet.key[1],
                to_dedup=gpulet.key[2],
            )
        )

    def _name(self, wanted: GpuletPlan) -> Key:
        """What a gpulet of that share can be called: as the plan does, where nobody is now."""
        taken = {g.key for g in self._gpulets if g.is_there}
        device, share_pct, dedup = _key(wanted)
        if (device, share_pct, dedup) in taken:
            dedup = next(n for n in range(101) if (device, share_pct, n) not in taken)
        return (device, share_pct, dedup)

    def _release(self, gpulet: _Gpulet) -> None:
        for name in sorted(gpulet.models):
            self._end(gpulet, name)
        self._step("release", gpulet)
        self._gpulets.remove(gpulet)

    def _end(self, gpulet: _Gpulet, model: str) -> None:
        self._step("drain", gpulet, model)
        self._step("unload", gpulet, model)
        del gpulet.models[model]

    def _step(
        self, kind: StepKind, gpulet: _Gpulet, model: str = "", share: ModelShare | None = None
    ) -> None:
        device, share_pct, dedup = gpulet.key
        self.steps.append(
            PlanStep(
                kind=kind,
                device=device,
                share_pct=share_pct,
                dedup=dedup,
                model=model,
                share=share,
            )
        )


def _apply(there: dict[Key, dict[str, ModelShare]], step: PlanStep) -> None:
    key = (step.device, step.share_pct, step.dedup)
    if step.kind == "create":
        _need(key not in there, step, "is there already")
        there[key] = {}
        return
    _need(key in there, step, "is not there")
    models = there[key]
    if step.kind == "resize":
        to = (step.device, step.to_share_pct or 0, step.to_dedup or 0)
        _need(to not in there, step, f"cannot become {to[1]} % dedup {to[2]}, which is there")
        there[to] = there.pop(key)
    elif step.kind == "switch" and step.share is not None:
        models[step.model] = step.share
    elif step.kind == "drain":
        _need(step.model in models, step, f"does not serve {step.model!r}")
        del models[step.model]
    elif step.kind == "release":
        _need(not models, step, "still serves models")
        del there[key]


def _need(fits: bool, step: PlanStep, why: str) -> None:
    if not fits:
        gpulet = f"gpulet {step.share_pct} % dedup {step.dedup} of device {step.device}"
        raise ArgumentError(f"step {step.kind}: {gpulet} {why}")


def _key(gpulet: GpuletPlan) -> Key:
    return (gpulet.device, gpulet.share_pct, gpulet.dedup)


def _named(gpulets: Sequence[GpuletPlan]) -> dict[Key, dict[str, ModelShare]]:
    return {_key(gpulet): {s.model: s for s in gpulet.models} for gpulet in gpulets}


def _gpulet(key: Key, models: dict[str, ModelShare]) -> GpuletPlan:
    device, share_pct, dedup = key
    shares = tuple(models.values())
    return GpuletPlan(device=device, share_pct=share_pct, dedup=dedup, models=shares)


def _sorted(gpulets: Iterable[GpuletPlan]) -> tuple[GpuletPlan, ...]:
    return canonical(Plan(gpulets=tuple(gpulets))).gpulets


def _place(gpulet: GpuletPlan) -> tuple[int, int, list[tuple[str, str]]]:
    """Device, the larger share first, then by what it runs."""
    models = sorted((share.model, repr(share)) for share in gpulet.models)
    return (gpulet.device, -gpulet.share_pct, models)

"""The ideal for tiny inputs: every way to cut the devices, every way to fill the gpulets.

What the published study calls ideal (Choi et al., ATC 2022, section 6): devices stay whole or are
cut in two (p, 100 - p), and the best plan over all of them is kept. Here gpulets are filled one by
one, in any order. A gpulet's contents are models with all that is left of their rates, and at most
one model more with as much of its rate as fits beside them: that one needs other gpulets too. Which
models are split over which gpulets is a forest, and filled from its leaves no gpulet needs more.

The search is depth first, the least wasteful gpulet first. It leaves out only what cannot matter:

- devices of one type are alike, and so are gpulets of one share;
- contents that other contents of the same gpulet exceed in every model, and states with no less to
  do than one seen before at the same free gpulets. Both hold where gpulets do not care who is
  beside them; with interference or scarce memory only what is equal is left out;
- what bounds exclude (plan/ceiling.py): numbers of devices, and states.
"""

from collections.abc import Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import product
from typing import NamedTuple

from glet.errors import ArgumentError
from glet.plan.ceiling import Capacity, Ceiling, Resource, layouts_of, without
from glet.plan.draft import deduped, gpulet_plan
from glet.plan.filling import Filling, Part, Sketch
from glet.plan.problem import Problem, check_problem, unmet
from glet.types.plan import GpuletPlan, Plan

MOST_DEVICES = 16
MOST_TASKS = 10
# What is left of a rate below this part of it is rounding.
DONE = 1e-7
NOTHING = 1e-9
# Unmet parts that differ by less count as equal.
BETTER = 1e-4


class Found(NamedTuple):
    """The best plan that was found. `complete`: all was searched, there is no better one."""

    plan: Plan
    complete: bool


class ExhaustivePlanner:
    """The best plan with few gpulets per device, for a handful of models and devices.

    Fewest devices first, then the least unmet (the sum over models of the unmet part of its rate).
    For every number of devices the search gives up after `max_nodes` steps and keeps the best so
    far; search() tells whether it did. More than MOST_DEVICES devices or MOST_TASKS tasks are an
    ArgumentError.
    """

    name = "exhaustive"

    def __init__(self, *, most_gpulets: int = 2, max_nodes: int = 400) -> None:
        """`most_gpulets` per device, 1 to 3. Raises ArgumentError for others."""
        if not 1 <= most_gpulets <= 3:
            raise ArgumentError(f"most_gpulets is {most_gpulets}; valid is 1, 2 or 3")
        self._most_gpulets = most_gpulets
        self._max_nodes = max_nodes

    def plan(self, problem: Problem) -> Plan:
        return self.search(problem).plan

    def search(self, problem: Problem) -> Found:
        """The plan, and whether it is proven to be the best."""
        check_problem(problem)
        for what, size, most in (
            ("devices", len(problem.devices), MOST_DEVICES),
            ("tasks", len(problem.tasks), MOST_TASKS),
        ):
            if size > most:
                raise ArgumentError(
                    f"{size} {what} are too many for an exhaustive search; valid is 0..{most}"
                )
        if not problem.tasks:
            return Found(Plan(), complete=True)
        return _Search(problem, self._most_gpulets, self._max_nodes).run()


class _Opened(NamedTuple):
    """A device of a kind, with the gpulets that are filled already."""

    kind: int
    parts: tuple[Part, ...] = ()

    @property
    def resource(self) -> Resource:
        return Resource(self.kind, tuple(sorted(part.share_pct for part in self.parts)))


class _State(NamedTuple):
    """What is left to do, and the devices so far."""

    left_rps: tuple[float, ...]
    devices: tuple[_Opened, ...]


class _Move(NamedTuple):
    """A gpulet to fill next. `settled`: the sketch is whole and fits."""

    waste: float
    settled: bool
    device: _Opened
    share_pct: int
    sketch: Sketch


class _Search:
    def __init__(self, problem: Problem, most_gpulets: int, max_nodes: int) -> None:
        self._problem = problem
        self._max_nodes = max_nodes
        self._tasks = sorted(problem.tasks, key=lambda task: task.model)
        self._wanted = tuple(task.rate_rps for task in self._tasks)
        self._numbers: list[list[int]] = []
        self._fillings: list[Filling] = []
        capacities = []
        most = min(most_gpulets, problem.rules.max_gpulets)
        for name in sorted({device.type for device in problem.devices}):
            device_type = problem.types[name]
            self._numbers.append(sorted(d.number for d in problem.devices if d.type == name))
            filling = Filling(device_type, self._tasks, problem.rules, most)
            self._fillings.append(filling)
            capacities.append(Capacity(layouts_of(device_type.shares, most), filling.most_rps))
        self._layouts = [capacity.layouts for capacity in capacities]
        self._independent = all(filling.independent for filling in self._fillings)
        self._most = [len(numbers) for numbers in self._numbers]
        self._ceiling = Ceiling(self._wanted, capacities, self._most)
        self._limit = NOTHING
        self._nodes = 0
        self._best = (float("inf"), _State(self._wanted, ()))
        self._seen: dict[tuple[object, ...], list[tuple[float, ...]]] = {}

    def run(self) -> Found:
        complete = True
        for counts in self._counts():
            devices = _devices(counts)
            if not self._excludes(self._wanted, devices, NOTHING):
                complete &= self._descend(devices, NOTHING)
                if self._best[0] == 0.0:
                    return Found(self._plan(), complete)
        devices = _devices(self._most)
        complete &= self._descend(devices, self._best[0] - BETTER)
        return Found(self._plan(), complete)

    def _counts(self) -> list[tuple[int, ...]]:
        """Devices of each kind that a plan may use, fewest first."""
        found = product(*(range(most + 1) for most in self._most))
        return sorted(found, key=lambda counts: (sum(counts), counts))

    def _descend(self, devices: tuple[_Opened, ...], limit: float) -> bool:
        """Searches from nothing; whether it came to its end."""
        self._nodes, self._limit, self._seen = 0, limit, {}
        self._visit(_State(self._wanted, devices))
        return self._nodes < self._max_nodes or self._best[0] == 0.0

    def _visit(self, state: _State) -> bool:
        """True when the search is over: nothing is left, or no step."""
        self._nodes += 1
        short = sum(left / want for left, want in zip(state.left_rps, self._wanted, strict=True))
        if short < self._best[0]:
            self._best = (short, state)
            if self._limit > NOTHING:
                self._limit = short - BETTER
        if short == 0.0 or self._nodes >= self._max_nodes:
            return True
        for move in self._moves(state):
            after = _after(state, move, self._wanted)
            if not self._is_futile(after) and self._visit(after):
                return True
        return False

    def _moves(self, state: _State) -> Iterator[_Move]:
        """Every gpulet that can be filled next, with all it can hold; the least wasteful first.

        Sketches promise no more waste than what comes of them has, so they wait in the same queue.
        """
        spare = self._ceiling.spare(
            state.left_rps, [device.resource for device in state.devices], self._limit
        )
        waiting = [move for move in self._sketches(state) if move.waste <= spare]
        heapify(waiting)
        while waiting:
            move = heappop(waiting)
            if move.settled:
                yield move
                continue
            filling = self._fillings[move.device.kind]
            settled, others = filling.contents(move.device.parts, move.share_pct, move.sketch)
            for sketch, is_settled in [
                *((Sketch(contents), True) for contents in settled),
                *((other, False) for other in others),
            ]:
                waste = self._waste(move.device, move.share_pct, sketch)
                if waste <= spare:
                    heappush(waiting, _Move(waste, is_settled, move.device, move.share_pct, sketch))

    def _sketches(self, state: _State) -> Iterator[_Move]:
        for device in {self._key(device): device for device in state.devices}.values():
            filling = self._fillings[device.kind]
            used = device.resource.used
            rests = [without(layout, used) for layout in self._layouts[device.kind]]
            for share in sorted({share for rest in rests if rest for share in rest}):
                for sketch in filling.sketches(share, state.left_rps):
                    waste = self._waste(device, share, sketch)
                    yield _Move(waste, False, device, share, sketch)

    def _waste(self, device: _Opened, share_pct: int, sketch: Sketch) -> float:
        return self._ceiling.waste(device.resource, share_pct, (*sketch.whole, *sketch.part))

    def _is_futile(self, state: _State) -> bool:
        """Whether bounds, or a state that was seen, say that nothing better comes of it."""
        if self._excludes(state.left_rps, state.devices, self._limit):
            return True
        open_devices = [d for d in state.devices if self._is_open(d)]
        seen = self._seen.setdefault(tuple(map(self._key, open_devices)), [])
        if state.left_rps in seen or (
            self._independent
            and any(
                all(a <= b for a, b in zip(other, state.left_rps, strict=True)) for other in seen
            )
        ):
            return True
        seen.append(state.left_rps)
        return False

    def _excludes(
        self, left_rps: Sequence[float], devices: Sequence[_Opened], limit: float
    ) -> bool:
        return self._ceiling.short(left_rps, [device.resource for device in devices]) > limit

    def _is_open(self, device: _Opened) -> bool:
        used = device.resource.used
        return any(without(layout, used) for layout in self._layouts[device.kind])

    def _key(self, device: _Opened) -> Resource | _Opened:
        """What makes devices alike: what is free, or what is there too."""
        return device.resource if self._independent else device

    def _plan(self) -> Plan:
        numbers = [iter(each) for each in self._numbers]
        gpulets: list[GpuletPlan] = []
        state = self._best[1]
        for device in state.devices:
            if not device.parts:
                continue
            filling, number = self._fillings[device.kind], next(numbers[device.kind])
            found = filling.fits(device.parts) or ()
            gpulets += [
                gpulet_plan(number, part.share_pct, filling.wants(*part), one)
                for part, one in zip(device.parts, found, strict=True)
            ]
        placed = [(m.model, m.rate_rps) for g in gpulets for m in g.models]
        return Plan(gpulets=deduped(gpulets), unmet=unmet(self._problem, placed))


def _devices(counts: Sequence[int]) -> tuple[_Opened, ...]:
    return tuple(_Opened(kind) for kind, count in enumerate(counts) for _ in range(count))


def _after(state: _State, move: _Move, wanted_rps: Sequence[float]) -> _State:
    left = [*state.left_rps]
    for index, rate_rps in move.sketch.whole:
        left[index] -= rate_rps
        if left[index] <= DONE * wanted_rps[index]:
            left[index] = 0.0
    devices = [*state.devices]
    devices.remove(move.device)
    part = Part(move.share_pct, move.sketch.whole)
    devices.append(_Opened(move.device.kind, (*move.device.parts, part)))
    return _State(tuple(left), tuple(sorted(devices)))

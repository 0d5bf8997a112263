"""A plan driven through the queues that serve, in virtual time."""

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import pytest

from glet.native import core
from glet.plan.assess import ServedGpulet, assess
from glet.plan.problem import Problem
from glet.types.plan import GpuletPlan, Plan

NS_PER_MS = 1_000_000
# What deadlines are put off, and lingering is prolonged, for times that are whole nanoseconds.
DEADLINE_SLACK_NS = 2_000
LINGER_SLACK_NS = 1_000
LONGEST_MS = 2_000.0
MOST_REQUESTS = 800


class Lateness(NamedTuple):
    """A model on a gpulet of which requests came late, and from which phases on."""

    device: int
    share_pct: int
    model: str
    late: int
    of: int
    phases: tuple[float, ...]


class Lane(NamedTuple):
    """A model on a gpulet in replay: latency by batch, gap between arrivals and objective."""

    latency_ns: tuple[int, ...]
    gap_ms: float
    slo_ns: int
    batch: int
    linger_ns: int
    time_share: float


Replay = Callable[[Problem, Plan, Iterable[float]], list[Lateness]]


@pytest.fixture(scope="session")
def replay() -> Replay:
    """replay(problem, plan, seeds) -> the models with late requests; none for a sound plan.

    Arrivals are evenly spaced at the planned rates, one run per seed; seed 0 has all phases 0.
    Batches take as long as the plan's own model says, with the slowdown by all neighbours.
    """
    return _replay


def _replay(problem: Problem, plan: Plan, seeds: Iterable[float]) -> list[Lateness]:
    found = []
    served = assess(problem, plan).gpulets
    for gpulet in (g for g in plan.gpulets if g.models):
        (judged,) = [
            g
            for g in served
            if (g.device, g.share_pct, g.dedup) == (gpulet.device, gpulet.share_pct, gpulet.dedup)
        ]
        lanes = _lanes(problem, gpulet, judged)
        for seed in seeds:
            phases = tuple((seed * (7 * i + 3)) % 1.0 for i in range(len(lanes)))
            counts = Gpulet(lanes).run(phases)
            found += [
                Lateness(gpulet.device, gpulet.share_pct, share.model, late, of, phases)
                for share, (late, of) in zip(gpulet.models, counts, strict=True)
                if late
            ]
    return found


def _lanes(problem: Problem, gpulet: GpuletPlan, judged: ServedGpulet) -> list[Lane]:
    device = problem.type_of(gpulet.device)
    lanes = []
    for share, served in zip(gpulet.models, judged.models, strict=True):
        factor = problem.rules.latency_ratio * served.slowdown
        row = device.profile.model(share.model).tables((gpulet.share_pct,))[0]
        lanes.append(
            Lane(
                latency_ns=tuple(
                    max(1, round(ms * factor * NS_PER_MS)) for ms in row[: share.batch].tolist()
                ),
                gap_ms=1000.0 / share.rate_rps,
                slo_ns=round(problem.task(share.model).slo_ms * NS_PER_MS),
                batch=share.batch,
                linger_ns=math.ceil(share.linger_ms * NS_PER_MS) + LINGER_SLACK_NS
                if share.linger_ms
                else 0,
                time_share=share.time_share,
            )
        )
    return lanes


class Gpulet:
    """One gpulet in virtual time: a worker that does what its queue decides."""

    def __init__(self, lanes: list[Lane]) -> None:
        self.lanes = lanes
        self.queue = core.GpuletQueue()
        for index, lane in enumerate(lanes):
            table = core.LatencyTable(list(enumerate(lane.latency_ns, start=1)))
            limits = core.QueueLimits(
                capacity=65536, max_batch=lane.batch, linger_ns=lane.linger_ns
            )
            self.queue.add(index, core.ModelPlan(table, limits, lane.time_share))
        self.deadlines: dict[int, int] = {}
        self.counts = [[0, 0] for _ in lanes]
        self.running: tuple[int, list[int]] | None = None
        self.free_at = 0

    def run(self, phases: tuple[float, ...]) -> list[tuple[int, int]]:
        """(late, all) requests of each lane."""
        arrivals = heapq.merge(
            *(self._arrivals(index, phase) for index, phase in enumerate(phases))
        )
        coming = next(arrivals, None)
        wake_at = core.NEVER_NS
        while True:
            busy_until = self.free_at if self.running else core.NEVER_NS
            arrives_at = coming[0] if coming else core.NEVER_NS
            now = min(busy_until, arrives_at, wake_at)
            if now == core.NEVER_NS:
                break
            if self.running and self.free_at <= now:
                self._finish(now)
            while coming and coming[0] <= now:
                self._push(len(self.deadlines), coming[1], now)
                coming = next(arrivals, None)
            wake_at = core.NEVER_NS if self.running else self._decide(now)
        assert len(self.queue) == 0
        return [(late, of) for late, of in self.counts]

    def _arrivals(self, index: int, phase: float) -> Iterator[tuple[int, int]]:
        busiest = sum(1.0 / lane.gap_ms for lane in self.lanes)
        end_ms = min(LONGEST_MS, MOST_REQUESTS / busiest)
        gap_ms = self.lanes[index].gap_ms
        count = max(1, math.ceil((end_ms - phase * gap_ms) / gap_ms))
        for number in range(count):
            yield round((phase + number) * gap_ms * NS_PER_MS), index

    def _push(self, request: int, index: int, now: int) -> None:
        due = now + self.lanes[index].slo_ns + DEADLINE_SLACK_NS
        self.deadlines[request] = due
        self.counts[index][1] += 1
        admitted = self.queue.push(
            index,
            request,
            arrival_ns=now,
            deadline_ns=due,
            now_ns=now,
            busy_until_ns=self.free_at if self.running else now,
        )
        self.counts[index][0] += admitted is not core.Admit.ACCEPTED

    def _decide(self, now: int) -> int:
        """Starts a batch, or says when to ask again."""
        for index, _ in self.queue.take_late(now):
            self.counts[index][0] += 1
        decision = self.queue.decide(now)
        if decision.batch_size == 0:
            return decision.wake_at_ns
        requests = self.queue.take_batch(decision)
        self.running = (decision.model, requests)
        self.free_at = now + self.lanes[decision.model].latency_ns[decision.batch_size - 1]
        return core.NEVER_NS

    def _finish(self, now: int) -> None:
        assert self.running is not None
        index, requests = self.running
        self.running = None
        self.counts[index][0] += sum(now > self.deadlines[request] for request in requests)
        self.queue.observe(index, len(requests), self.lanes[index].latency_ns[len(requests) - 1])

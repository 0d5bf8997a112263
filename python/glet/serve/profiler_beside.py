"""Two gpulets of one device measured together: each alone and both at once, in turns."""

import math
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec

from glet.clock import Clock
from glet.serve.profiler_rule import (
    PATIENCE,
    Measured,
    Run,
    StopRule,
    chunk_of,
    is_steady,
    summary,
)

# A drifting machine disturbs both sides of a comparison alike when they take turns this often.
LEAST_ROUNDS = 2
MOST_ROUNDS = 8
PHASE_S = 0.3
LEAST_IN_PHASE = 4
MOST_IN_CHUNK = 1000


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """One gpulet of a pair: its model's latency alone, and while the other one is busy."""

    alone: Measured
    beside: Measured


def measure_beside(runs: Sequence[Run], rule: StopRule, clock: Clock) -> list[Compared]:
    """One result per run. Order: each alone, all at once, each alone, all at once, ...

    Ends when every median is known within the rule, after `MOST_ROUNDS`, or when a round more
    would exceed four times the rule's limit, but never before `LEAST_ROUNDS`.
    """
    one_ns = [float(run(rule.warm_ups)[-1]) for run in runs]
    alone: list[list[int]] = [[] for _ in runs]
    beside: list[list[int]] = [[] for _ in runs]
    start_s = clock.now_s()
    for number in range(1, MOST_ROUNDS + 1):
        for index, run in enumerate(runs):
            alone[index] += _run_alone(run, one_ns[index], clock)
        for index, took in enumerate(run_together(runs, one_ns, clock)):
            beside[index] += took
        elapsed_s = clock.now_s() - start_s
        is_over = elapsed_s * (number + 1) / number > PATIENCE * rule.limit_s
        steady = all(is_steady(samples, rule) for samples in (*alone, *beside))
        if number >= LEAST_ROUNDS and (steady or is_over):
            break
    return [
        Compared(alone=summary(a, rule), beside=summary(b, rule))
        for a, b in zip(alone, beside, strict=True)
    ]


def run_together(runs: Sequence[Run], one_ns: Sequence[float], clock: Clock) -> list[list[int]]:
    """Durations of each run while all others ran too, at least `LEAST_IN_PHASE` of each.

    What began before all had begun, or ended after all had enough, is left out. Raises what a run
    raises.
    """
    parties = [_Party(run, ns, clock) for run, ns in zip(runs, one_ns, strict=True)]
    stop = threading.Event()
    start = threading.Barrier(len(parties))
    with ThreadPoolExecutor(len(parties)) as pool:
        sides = [pool.submit(party.run, start, stop, parties) for party in parties]
    end_s = min(side.result() for side in sides)
    return [party.samples(_all_begun_s(parties), end_s) for party in parties]


class _Party:
    """One side: chunks of runs, back to back, until every side has enough."""

    def __init__(self, run: Run, one_ns: float, clock: Clock) -> None:
        self._run = run
        self._chunk = chunk_of(one_ns, MOST_IN_CHUNK)
        self._clock = clock
        self._chunks: list[tuple[float, float, Sequence[int]]] = []
        self.begun_s = math.inf
        self.has_enough = False

    def run(
        self, start: threading.Barrier, stop: threading.Event, parties: Sequence["_Party"]
    ) -> float:
        """When this side saw that all had enough."""
        start.wait()
        self.begun_s = begin_s = self._clock.now_s()
        try:
            while not (stop.is_set() or all(party.has_enough for party in parties)):
                took_ns = self._run(self._chunk)
                end_s = self._clock.now_s()
                self._chunks.append((begin_s, end_s, took_ns))
                since_s = _all_begun_s(parties)
                enough = len(self.samples(since_s, end_s)) >= LEAST_IN_PHASE
                self.has_enough = enough and end_s - since_s >= PHASE_S
                begin_s = self._clock.now_s()
            return self._clock.now_s()
        finally:
            # Also when this side failed: the others would wait for it for ever.
            stop.set()

    def samples(self, begin_s: float, end_s: float) -> list[int]:
        """Durations in nanoseconds of the chunks that lie between."""
        return [
            took_ns
            for begun_s, ended_s, chunk in self._chunks
            if begin_s <= begun_s and ended_s <= end_s
            for took_ns in chunk
        ]


def _all_begun_s(parties: Sequence[_Party]) -> float:
    """Since when all run; never, while one does not yet."""
    return max(party.begun_s for party in parties)


def _run_alone(run: Run, one_ns: float, clock: Clock) -> list[int]:
    start_s = clock.now_s()
    samples: list[int] = []
    while len(samples) < LEAST_IN_PHASE or clock.now_s() - start_s < PHASE_S:
        samples += run(chunk_of(one_ns, MOST_IN_CHUNK))
    return samples

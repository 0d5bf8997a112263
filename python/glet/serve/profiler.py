"""Measures a device: every model at every share and batch, then gpulets beside each other.

Beside the memory probe a model shows what it draws (as Bubble-Up does, Mars et al., MICRO 2011);
pairs of models show how much they disturb each other.

Each job is a process of its own (profiler_task); the folder is saved after each.
"""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import closing

import msgspec

from glet.errors import ConfigError, GletError
from glet.profiles.interference import Tenant
from glet.serve.executor_env import PlainEnv
from glet.serve.profiler_device import Target, place
from glet.serve.profiler_pairs import PROBE, choose_pairings, probings
from glet.serve.profiler_rule import StopRule
from glet.serve.profiler_store import ProfileStore
from glet.serve.profiler_task import Done, PointDone, Seat, Task, run_task
from glet.serve.repository import Entry
from glet.wire.messages import ModelSource

SEED = 0
# Only for the time left: what starting a process and loading a model takes, how many samples
# usually do, how many phases a pair has, and of which batch an objective is twice the latency.
START_S = 2.0
USUAL_SAMPLES = 20
PAIR_PHASES = 3
SLO_BATCH = 8

Measure = Callable[[Task], Generator[Done, None, None]]


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What to measure. `batches` by model. `pairs` is how many, None for all.

    With `again` what is in the folder is measured anew.
    """

    batches: dict[str, tuple[int, ...]]
    shares_pct: tuple[int, ...]
    pairs: int | None
    rule: StopRule
    again: bool = False


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """Points of the same models on the same gpulets: one process.

    A point has a tenant per gpulet. `cost_s` is about how long each point takes.
    """

    points: tuple[tuple[Tenant, ...], ...]
    cost_s: tuple[float, ...]

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(tenant.model for tenant in self.points[0])

    @property
    def shares_pct(self) -> tuple[int, ...]:
        return tuple(tenant.share_pct for tenant in self.points[0])


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """Progress: a job begins (`done` is None), or one of its points was measured.

    `spent_s` of `total_s` is how far it is, by the time foreseen for everything.
    """

    tenants: tuple[Tenant, ...]
    done: Done | None
    spent_s: float
    total_s: float


class Profiler:
    """A run over one device into one folder."""

    def __init__(
        self,
        target: Target,
        entries: Mapping[str, Entry],
        wish: Wish,
        store: ProfileStore,
        measure: Measure = run_task,
    ) -> None:
        self._target = target
        self._entries = entries
        self._wish = wish
        self._store = store
        self._measure = measure
        self._probe = target.probe()
        self.jobs = plan_jobs(entries, wish, store, with_probe=self._probe is not None)
        self.total_s = sum(sum(job.cost_s) for job in self.jobs)

    def models(self) -> list[str]:
        """Those of which something is missing."""
        return sorted({model for job in self.jobs for model in job.models} - {PROBE})

    def run(
        self,
        failed: Mapping[str, str],
        tell: Callable[[Step], None],
        save: Callable[[], None],
    ) -> dict[str, str]:
        """Measures what is missing, except of models that failed before.

        Returns what failed: model, or two in a pair -> why. `save` is called after each job, also
        after one that was interrupted.
        """
        failures = dict(failed)
        spent_s = 0.0
        for job in self.jobs:
            # A device that counts traffic itself needs no probe.
            is_there = not self._wish.again and all(self._store.has(at) for at in job.points)
            if not is_there and not failures.keys() & set(job.models):
                tell(self._step(job.points[0], None, spent_s))
                try:
                    self._run_job(job, spent_s, tell)
                except GletError as error:
                    failures[" beside ".join(dict.fromkeys(job.models))] = str(error)
                finally:
                    save()
            spent_s += sum(job.cost_s)
        return failures

    def _run_job(self, job: Job, spent_s: float, tell: Callable[[Step], None]) -> None:
        # Closing the iterator ends the process, whatever happened.
        with closing(self._measure(self._task(job))) as measured:
            for tenants, cost_s, done in zip(job.points, job.cost_s, measured, strict=True):
                if isinstance(done, PointDone):
                    self._store.put(tenants[0], done)
                elif tenants[1].model == PROBE:
                    self._store.put_demand(tenants[0], done.sides[1])
                else:
                    self._store.put_pair((tenants[0], tenants[1]), done)
                spent_s += cost_s
                tell(self._step(tenants, done, spent_s))

    def _task(self, job: Job) -> Task:
        gpulets = place(self._target.info, job.shares_pct)
        return Task(
            kind=self._target.info.kind,
            seats=tuple(
                Seat(gpulet=gpulet, source=self._source(model, gpulet.share_pct))
                for gpulet, model in zip(gpulets, job.models, strict=True)
            ),
            batches=tuple(tuple(tenant.batch for tenant in point) for point in job.points),
            rule=self._wish.rule,
            variables=dict(PlainEnv(self._target.info).variables(gpulets)),
        )

    def _source(self, model: str, share_pct: int) -> ModelSource:
        if model == PROBE and self._probe is not None:
            return self._probe
        return self._target.source(self._entries[model], share_pct)

    def _step(self, tenants: tuple[Tenant, ...], done: Done | None, spent_s: float) -> Step:
        return Step(tenants=tenants, done=done, spent_s=spent_s, total_s=self.total_s)


def check_wish(target: Target, entries: Mapping[str, Entry], wish: Wish) -> None:
    """Raises ConfigError or ProfileError for what the device or the models do not have."""
    for name, batches in wish.batches.items():
        largest = entries[name].config.max_batch
        for batch in batches:
            if not 1 <= batch <= largest:
                raise ConfigError(
                    f"batch {batch} of model {name!r} is not in 1..{largest}, up to its max_batch"
                )
    target.check([entries[name] for name in wish.batches], wish.shares_pct)


def plan_jobs(
    entries: Mapping[str, Entry], wish: Wish, store: ProfileStore, *, with_probe: bool
) -> list[Job]:
    """What is still to be measured: the models in order, largest shares first, then, unless no
    pairs are wished for, all beside the probe, and the pairs."""
    points: list[tuple[Tenant, ...]] = [
        (Tenant(model=model, batch=batch, share_pct=share),)
        for model in sorted(wish.batches)
        for share in sorted(wish.shares_pct, reverse=True)
        for batch in sorted(wish.batches[model])
    ]
    pairings = choose_pairings(wish.batches, wish.shares_pct, wish.pairs, SEED)
    if wish.pairs != 0:
        points += probings(wish.batches, wish.shares_pct) if with_probe else []
    points += sorted(pairings, key=_seats)
    jobs: dict[object, list[tuple[Tenant, ...]]] = {}
    for point in points:
        if wish.again or not store.has(point):
            jobs.setdefault(_seats(point), []).append(point)
    smallest_pct = min(wish.shares_pct)
    return [
        Job(
            points=tuple(job),
            cost_s=tuple(
                _cost_s(point, entries, wish.rule, smallest_pct) + START_S / len(job)
                for point in job
            ),
        )
        for job in jobs.values()
    ]


def _seats(point: Iterable[Tenant]) -> tuple[tuple[str, int], ...]:
    return tuple((tenant.model, tenant.share_pct) for tenant in point)


def _cost_s(
    point: tuple[Tenant, ...], entries: Mapping[str, Entry], rule: StopRule, smallest_pct: int
) -> float:
    """About how long a point takes."""
    guesses_s = [
        entries[tenant.model].config.slo_ms
        / 2000.0
        * (tenant.batch / SLO_BATCH)
        * (smallest_pct / tenant.share_pct)
        for tenant in point
        if tenant.model != PROBE
    ]
    at_least_s = rule.least * max(guesses_s)
    one_s = max(at_least_s, rule.least_s, min(rule.limit_s, USUAL_SAMPLES * max(guesses_s)))
    return one_s + rule.warm_up_s if len(point) == 1 else PAIR_PHASES * one_s

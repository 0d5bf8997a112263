"""When a gpulet may lend its share: by the queue's own predictions, with times that are made up."""

from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from glet.native import core

US = 1_000
MS = 1_000_000
NOW = 1_000 * MS


class Model(NamedTuple):
    """What a gpulet serves: latency of n is `first_us + each_us * (n - 1)`."""

    first_us: int
    each_us: int
    max_batch: int
    slo_us: int
    margin_us: int = 0

    def latency_ns(self, batch: int) -> int:
        return (self.first_us + self.each_us * (batch - 1)) * US

    @property
    def plan(self) -> Any:
        table = core.LatencyTable([(n, self.latency_ns(n)) for n in range(1, self.max_batch + 1)])
        limits = core.QueueLimits(
            max_batch=self.max_batch,
            margin_ns=self.margin_us * US,
            slo_ns=self.slo_us * US if self.slo_us else core.NEVER_NS,
        )
        return core.ModelPlan(table, limits)

    @property
    def sustained(self) -> int:
        """The largest batch that fits twice into the objective; at least 1."""
        half_ns = (self.slo_us - self.margin_us) * US // 2
        sizes = range(1, self.max_batch + 1)
        return max([1, *(n for n in sizes if self.latency_ns(n) <= half_ns)])


def gpulet(*models: Model) -> Any:
    queue = core.GpuletQueue()
    for number, model in enumerate(models):
        queue.add(number, model.plan)
    return queue


MODELS = st.builds(
    Model,
    first_us=st.integers(100, 5_000),
    each_us=st.integers(0, 1_000),
    max_batch=st.integers(1, 8),
    slo_us=st.integers(1_000, 60_000),
    margin_us=st.integers(0, 500),
)


@given(
    models=st.lists(MODELS, min_size=1, max_size=4),
    wide_us=st.integers(1, 20_000),
    draw=st.data(),
)
def test_a_loan_makes_nothing_late_that_comes_while_it_runs(
    models: list[Model], wide_us: int, draw: st.DataObject
) -> None:
    queue = gpulet(*models)
    until = core.loan_until(NOW, 2 * wide_us * US, wide_us * US, queue)
    if until is None:
        return
    assert until == NOW + wide_us * US
    arrivals = []
    for number, model in enumerate(models):
        count = draw.draw(st.integers(0, model.sustained))
        times = [draw.draw(st.integers(NOW, until)) for _ in range(count)]
        arrivals += [(at, number, at + model.slo_us * US) for at in times]
    deadlines = {}
    for tag, (at, number, deadline) in enumerate(sorted(arrivals)):
        admitted = queue.push(
            number, tag, arrival_ns=at, deadline_ns=deadline, now_ns=at, busy_until_ns=until
        )
        assert admitted is core.Admit.ACCEPTED
        deadlines[tag] = deadline - models[number].margin_us * US
    clock = until
    while len(queue):
        assert queue.take_late(clock) == []
        decision = queue.decide(clock)
        assert decision.batch_size > 0
        clock += models[decision.model].latency_ns(decision.batch_size)
        for tag in queue.take_batch(decision):
            assert clock <= deadlines[tag]


@given(model=MODELS, more_us=st.integers(0, 10_000))
def test_more_time_lends_for_longer(model: Model, more_us: int) -> None:
    looser = model._replace(slo_us=model.slo_us + more_us, max_batch=1)
    tighter = model._replace(max_batch=1)
    assert gpulet(looser).lends_until(NOW) == gpulet(tighter).lends_until(NOW) + more_us * US


@given(models=st.lists(MODELS, min_size=1, max_size=3), other=MODELS)
def test_another_model_never_makes_it_longer(models: list[Model], other: Model) -> None:
    assert gpulet(*models, other).lends_until(NOW) <= gpulet(*models).lends_until(NOW)


def test_the_bound_is_exact() -> None:
    queue = gpulet(Model(first_us=2_000, each_us=0, max_batch=4, slo_us=10_000, margin_us=1_000))
    assert queue.lends_until(NOW) == NOW + 7 * MS
    assert core.loan_until(NOW, 9 * MS, 7 * MS, queue) == NOW + 7 * MS
    assert core.loan_until(NOW, 9 * MS, 7 * MS + 1, queue) is None
    # A wider share is not slower: the shorter prediction counts.
    assert core.loan_until(NOW, 6 * MS, 8 * MS, queue) == NOW + 6 * MS


def test_nothing_is_lent_while_something_waits() -> None:
    queue = gpulet(Model(first_us=1, each_us=0, max_batch=1, slo_us=1_000_000))
    assert core.loan_until(NOW, MS, MS, queue) is not None
    queue.push(0, 1, arrival_ns=NOW, deadline_ns=NOW + 1_000 * MS, now_ns=NOW)
    assert core.loan_until(NOW, MS, MS, queue) is None
    queue.take_batch(queue.decide(NOW))
    assert core.loan_until(NOW, MS, MS, queue) is not None


def test_a_gpulet_without_models_lends_for_as_long_as_anybody_likes() -> None:
    assert core.loan_until(NOW, 1_000 * MS, 900 * MS, gpulet()) == NOW + 900 * MS
    assert core.loan_until(NOW, core.NEVER_NS, core.NEVER_NS, gpulet()) is None


def test_without_an_objective_requests_have_to_come_first() -> None:
    queue = gpulet(Model(first_us=1_000, each_us=0, max_batch=1, slo_us=0))
    assert core.loan_until(NOW, MS, MS, queue) is None
    queue.push(0, 1, arrival_ns=NOW, deadline_ns=NOW + 20 * MS, now_ns=NOW)
    queue.take_batch(queue.decide(NOW))
    assert queue.lends_until(NOW) == NOW + 19 * MS


def test_requests_with_less_time_count_at_once_and_are_forgotten_slowly() -> None:
    queue = gpulet(Model(first_us=1_000, each_us=0, max_batch=1, slo_us=50_000))

    def ask(time_ns: int) -> int:
        queue.push(0, 1, arrival_ns=NOW, deadline_ns=NOW + time_ns, now_ns=NOW)
        queue.take_batch(queue.decide(NOW))
        return int(queue.lends_until(NOW)) - NOW

    assert ask(50 * MS) == 49 * MS
    assert ask(5 * MS) == 4 * MS
    assert 4 * MS < ask(50 * MS) < 6 * MS
    for _ in range(500):
        last = ask(50 * MS)
    assert 48 * MS < last <= 49 * MS
    # Longer deadlines than the objective do not make it longer.
    for _ in range(500):
        last = ask(500 * MS)
    assert last == 49 * MS


def test_a_batch_on_both_shares_counts_as_time_but_not_as_latency() -> None:
    queue = gpulet(Model(first_us=1_000, each_us=0, max_batch=1, slo_us=50_000))
    for _ in range(50):
        queue.count(0, MS // 2)
    assert queue.latency_ns(0, 1) == MS
    assert queue.correction(0) == 1.0
    queue.observe(0, 1, MS // 2)
    assert queue.correction(0) < 1.0


def table(*points_ns: int) -> Any:
    return core.LatencyTable(list(enumerate(points_ns, start=1)))


def test_a_known_gain_of_a_tenth_pays() -> None:
    wide = core.WideLatency(table(4 * MS, 6 * MS), 2, known=True)
    assert wide.at_ns(2) == 6 * MS
    assert wide.pays(2, 7 * MS)
    assert not wide.pays(2, 6 * MS + MS // 2)
    assert not wide.pays(1, 4 * MS)
    assert wide.at_ns(3) == core.NEVER_NS
    assert not wide.pays(3, 100 * MS)
    for _ in range(100):
        wide.observe(1, 8 * MS)
    assert not wide.pays(1, 7 * MS)
    assert wide.at_ns(1) > 7 * MS


def test_what_is_not_known_is_tried_and_the_first_trial_scales_all_sizes() -> None:
    wide = core.WideLatency(table(4 * MS, 6 * MS), 2, known=False)
    assert wide.pays(1, 4 * MS)
    assert wide.at_ns(1) == 4 * MS
    wide.observe(1, 2 * MS)
    assert (wide.at_ns(1), wide.at_ns(2)) == (2 * MS, 3 * MS)
    for _ in range(20):
        wide.observe(2, 3 * MS)
    assert wide.pays(2, 6 * MS)
    assert not wide.pays(2, 3 * MS)


def test_a_first_trial_that_stalled_is_not_believed_beyond_the_own_share() -> None:
    wide = core.WideLatency(table(4 * MS), 1, known=False)
    wide.observe(1, 400 * MS)
    assert wide.at_ns(1) == 4 * MS


def test_what_did_not_pay_is_tried_again_after_many_batches() -> None:
    wide = core.WideLatency(table(4 * MS), 1, known=True)
    asked = [wide.pays(1, 4 * MS) for _ in range(1_000)]
    assert asked.index(True) == 999
    wide.observe(1, 4 * MS)
    assert not wide.pays(1, 4 * MS)

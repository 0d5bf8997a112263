"""The queues of a gpulet, through the binding."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.errors import ArgumentError, ProfileError
from glet.native import core

MS = 1_000_000


def queue(max_batch: int = 8, *, drop_late: bool = True, linger_ns: int = 0) -> core.DeadlineQueue:
    table = core.LatencyTable([(1, 10 * MS), (4, 20 * MS), (8, 40 * MS)])
    limits = core.QueueLimits(max_batch=max_batch, drop_late=drop_late, linger_ns=linger_ns)
    return core.DeadlineQueue(table, limits)


def test_admission_says_why_not() -> None:
    waiting = queue()
    assert waiting.push(1, arrival_ns=0, deadline_ns=9 * MS, now_ns=0) is core.Admit.LATE
    assert waiting.push(2, arrival_ns=0, deadline_ns=10 * MS, now_ns=0) is core.Admit.ACCEPTED
    waiting.update(core.LatencyTable([(1, MS)]), core.QueueLimits(capacity=1))
    assert waiting.push(3, arrival_ns=0, deadline_ns=99 * MS, now_ns=0) is core.Admit.FULL
    assert waiting.limits.capacity == 1


def test_errors_have_the_names_of_the_core() -> None:
    with pytest.raises(ArgumentError, match="max_batch 9"):
        queue(max_batch=9)
    with pytest.raises(ProfileError, match=r"valid: 1\.\.8"):
        queue().latency_ns(9)
    with pytest.raises(ArgumentError, match="give at least one"):
        core.LatencyTable([])


def test_lingers_until_the_oldest_has_waited_enough() -> None:
    waiting = queue(linger_ns=5 * MS)
    waiting.push(1, arrival_ns=MS, deadline_ns=200 * MS, now_ns=MS)
    decision = waiting.decide(MS)
    assert (decision.batch_size, decision.wake_at_ns) == (0, 6 * MS)
    assert waiting.decide(decision.wake_at_ns).batch_size == 1


def test_nothing_waits_for_nothing() -> None:
    assert queue().decide(0).wake_at_ns == core.NEVER_NS
    assert queue().earliest_deadline_ns == core.NEVER_NS


STEPS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 200)), min_size=1, max_size=80)


@settings(deadline=None, max_examples=80)
@given(
    steps=STEPS,
    max_batch=st.integers(1, 8),
    drop_late=st.booleans(),
    linger_ms=st.sampled_from([0, 0, 7]),
)
def test_every_request_leaves_exactly_once_and_in_time(
    steps: list[tuple[int, int]], max_batch: int, drop_late: bool, linger_ms: int
) -> None:
    waiting = queue(max_batch, drop_late=drop_late, linger_ns=linger_ms * MS)
    deadlines: dict[int, int] = {}
    left: list[int] = []
    now = busy_until = 0
    for request_id, (gap_ms, slo_ms) in enumerate(steps):
        now += gap_ms * MS
        admit = waiting.push(
            request_id,
            arrival_ns=now,
            deadline_ns=now + slo_ms * MS,
            now_ns=now,
            busy_until_ns=busy_until,
        )
        if admit is core.Admit.ACCEPTED:
            deadlines[request_id] = now + slo_ms * MS
        else:
            assert drop_late
        if busy_until > now:
            continue
        late = waiting.take_late(now)
        assert drop_late or not late
        left += late
        decision = waiting.decide(now)
        if decision.batch_size == 0:
            assert decision.wake_at_ns > now
            continue
        assert decision.batch_size <= max_batch
        batch = waiting.take_batch(decision.batch_size)
        busy_until = now + waiting.latency_ns(len(batch))
        assert not drop_late or all(busy_until <= deadlines[one] for one in batch)
        left += batch
    assert len(waiting) == len(deadlines) - len(left)
    left += waiting.take_all()
    assert sorted(left) == sorted(deadlines)


@settings(deadline=None, max_examples=50)
@given(
    pushes=st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(20, 300)),
        min_size=1,
        max_size=60,
    )
)
def test_models_of_one_gpulet_lose_nothing(pushes: list[tuple[int, int, int]]) -> None:
    gpulet = core.GpuletQueue()
    for model in range(3):
        table = core.LatencyTable([(1, (model + 1) * 5 * MS), (4, (model + 1) * 9 * MS)])
        gpulet.add(model, core.ModelPlan(table, core.QueueLimits(max_batch=4), 1 / 3))
    accepted: set[tuple[int, int]] = set()
    left: list[tuple[int, int]] = []
    now = busy_until = 0
    for request_id, (model, gap_ms, slo_ms) in enumerate(pushes):
        now += gap_ms * MS
        admit = gpulet.push(
            model,
            request_id,
            arrival_ns=now,
            deadline_ns=now + slo_ms * MS,
            now_ns=now,
            busy_until_ns=busy_until,
        )
        if admit is core.Admit.ACCEPTED:
            accepted.add((model, request_id))
        if busy_until > now:
            continue
        left += gpulet.take_late(now)
        decision = gpulet.decide(now)
        if decision.batch_size > 0:
            left += [(decision.model, one) for one in gpulet.take_batch(decision)]
            busy_until = now + gpulet.latency_ns(decision.model, decision.batch_size)
            gpulet.observe(decision.model, decision.batch_size, busy_until - now)
    assert len(gpulet) == len(accepted) - len(left)
    for model in range(3):
        left += [(model, one) for one in gpulet.remove(model)]
    assert sorted(left) == sorted(accepted)

"""The split of an app's objective: no worse than equal parts, no longer than the objective."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glet.plan.app_split import (
    Measured,
    app_tasks,
    cost,
    followers,
    levels_of,
    merged,
    split_slo,
    stage_options,
    tightened,
)
from glet.plan.glet import GletPlanner
from glet.plan.problem import Device, DeviceType, Problem, Task
from glet.profiles.device_profile import DeviceProfile, ModelProfile
from glet.types.app import AppSpec, AppStage, Source, StageInput
from glet.types.model import Signature, TensorSpec

ONE = TensorSpec(name="y", dtype="uint8", shape=(1,))


def make_app(needs: list[list[int]], fan_outs: list[int], slo_ms: float = 100.0) -> AppSpec:
    """Stages 0, 1, ... that need those, of models m0, m1, ..."""
    stages = tuple(
        AppStage(
            name=f"s{i}",
            model=f"m{i}",
            each=0 if fan_out == 1 else fan_out,
            inputs=tuple(
                StageInput(name=f"x{k}", source=Source(stage=f"s{n}" if n >= 0 else "", tensor="y"))
                for k, n in enumerate(before or [-1])
            ),
            outputs=(ONE,),
        )
        for i, (before, fan_out) in enumerate(zip(needs, fan_outs, strict=True))
    )
    signature = Signature(inputs=(ONE,), outputs=(ONE,))
    return AppSpec(
        name="app", signature=signature, slo_ms=slo_ms, stages=stages,
        outputs=(Source(stage=stages[-1].name, tensor="y"),),
    )  # fmt: skip


def line(alpha_ms: float, beta_ms: float, batches: int = 16) -> list[Measured]:
    """L(b) = alpha b + beta on a whole device, 1.6 times as long on half of one."""
    return [
        Measured(share, batch, (alpha_ms * batch + beta_ms) * (1.0 if share == 100 else 1.6))
        for share in (50, 100)
        for batch in range(1, batches + 1)
    ]


@st.composite
def apps(draw: st.DrawFn) -> tuple[AppSpec, dict[str, list[Measured]], float]:
    count = draw(st.integers(1, 6))
    is_tree = draw(st.booleans())
    needs = [
        sorted(draw(st.sets(st.integers(0, i - 1), max_size=1 if is_tree else 3))) if i else []
        for i in range(count)
    ]
    fan_outs = [draw(st.sampled_from([1, 1, 2, 6])) for _ in range(count)]
    app = make_app(needs, fan_outs, draw(st.floats(20.0, 400.0)))
    tables = {
        f"m{i}": line(draw(st.floats(0.1, 5.0)), draw(st.floats(0.5, 20.0))) for i in range(count)
    }
    return app, tables, draw(st.sampled_from([1.0, 20.0, 300.0, math.inf]))


def longest_ms(app: AppSpec, budgets_ms: tuple[float, ...]) -> float:
    end: dict[str, float] = {}
    for stage, budget_ms in zip(app.stages, budgets_ms, strict=True):
        end[stage.name] = budget_ms + max((end[n] for n in stage.needs), default=0.0)
    return max(end.values())


def all_options(app: AppSpec, tables: dict[str, list[Measured]], rate_rps: float) -> list:
    return [stage_options(tables[s.model], s.fan_out, rate_rps) for s in app.stages]


@settings(max_examples=80, deadline=None)
@given(apps())
def test_never_worse_than_equal_parts_and_never_longer_than_the_objective(
    case: tuple[AppSpec, dict[str, list[Measured]], float],
) -> None:
    app, tables, rate_rps = case
    found = split_slo(app, rate_rps, tables)
    options = all_options(app, tables, rate_rps)
    even_ms = app.slo_ms / (max(levels_of(app)) + 1)
    assert found.devices <= cost(options, [even_ms] * len(options)) * (1.0 + 1e-9)
    assert all(budget_ms > 0 for budget_ms in found.budgets_ms)
    assert longest_ms(app, found.budgets_ms) <= app.slo_ms * (1.0 + 1e-9)
    assert math.isinf(found.devices) or found.devices == cost(options, found.budgets_ms)


@settings(max_examples=40, deadline=None)
@given(apps(), st.floats(0.05, 0.95))
def test_no_other_cut_of_a_chain_of_two_is_better(
    case: tuple[AppSpec, dict[str, list[Measured]], float], part: float
) -> None:
    _, tables, rate_rps = case
    if "m1" not in tables:
        tables = {**tables, "m1": line(1.0, 5.0)}
    app = make_app([[], [0]], [1, 2], 120.0)
    found = split_slo(app, rate_rps, tables)
    options = all_options(app, tables, rate_rps)
    # On the grid of the dynamic program.
    first_ms = round(part * 240) / 240 * app.slo_ms
    assert found.devices <= cost(options, [first_ms, app.slo_ms - first_ms]) * (1.0 + 1e-9)


def test_the_stage_that_gains_most_from_time_gets_it() -> None:
    app = make_app([[], [0]], [1, 1])
    # m0 costs the same whatever its batch; m1 is much cheaper in large ones.
    tables = {"m0": line(4.0, 0.1), "m1": line(0.5, 20.0)}
    found = split_slo(app, math.inf, tables)
    assert found.budgets_ms[1] > 2 * found.budgets_ms[0]
    assert found.budgets_ms[0] + found.budgets_ms[1] == pytest.approx(100.0)


def test_parallel_stages_all_have_the_whole_objective() -> None:
    app = make_app([[], []], [1, 6])
    found = split_slo(app, 10.0, {"m0": line(1.0, 5.0), "m1": line(0.1, 0.5)})
    assert found.budgets_ms == pytest.approx((100.0, 100.0))


def test_without_profiles_or_without_a_way_there_are_budgets_all_the_same() -> None:
    app = make_app([[], [0]], [1, 1])
    assert split_slo(app, 1.0, {}).budgets_ms == (50.0, 50.0)
    hopeless = split_slo(app, 1.0, {"m0": line(100.0, 100.0), "m1": line(50.0, 50.0)})
    assert math.isinf(hopeless.devices)
    assert hopeless.budgets_ms == pytest.approx((200 / 3, 100 / 3))


def test_rows_that_arrive_together_need_no_others_to_fill_a_batch() -> None:
    table = [Measured(100, 6, 10.0)]
    (together,) = stage_options(table, 6, 1.0)
    (apart,) = stage_options(table, 1, 6.0)
    assert together.time_ms == 20.0
    assert apart.time_ms == pytest.approx(10.0 + 5 * 1000.0 / 6.0)
    assert together.devices == pytest.approx(apart.devices)


def device_type() -> DeviceType:
    models = {
        f"m{i}": ModelProfile(
            f"m{i}",
            {s: {b: (1.0 + i) * b + 4.0 for b in (1, 2, 4, 8)} for s in (50, 100)},
        )
        for i in range(3)
    }
    profile = DeviceProfile("t", models, memory_mb=1e6, where="here")
    return DeviceType(profile=profile, shares=(50, 100))


def test_tasks_of_an_app_are_its_models_at_its_rate_and_can_be_planned() -> None:
    app = make_app([[], [0], [0]], [1, 4, 4], 150.0)
    tasks = app_tasks(app, 5.0, [device_type()])
    assert [(task.model, task.rate_rps) for task in tasks] == [
        ("m0", 5.0), ("m1", 20.0), ("m2", 20.0),
    ]  # fmt: skip
    assert tasks[0].slo_ms + max(tasks[1].slo_ms, tasks[2].slo_ms) == pytest.approx(150.0)
    devices = tuple(Device(number=i, type="t") for i in range(3))
    plan = GletPlanner().plan(Problem(tasks=tasks, devices=devices, types={"t": device_type()}))
    assert plan.unmet == {}


def test_the_same_model_alone_and_in_an_app_adds_up_under_the_tighter_objective() -> None:
    alone = Task(model="m0", rate_rps=3.0, slo_ms=40.0)
    of_app = Task(model="m0", rate_rps=5.0, slo_ms=60.0)
    assert merged([of_app, alone]) == (Task(model="m0", rate_rps=8.0, slo_ms=40.0),)
    assert tightened([of_app], [alone]) == (Task(model="m0", rate_rps=5.0, slo_ms=40.0),)


def test_followers_and_levels() -> None:
    app = make_app([[], [0], [0], [1, 2]], [1] * 4)
    assert levels_of(app) == [0, 1, 1, 2]
    assert followers(app) == [[1, 2], [3], [3], []]

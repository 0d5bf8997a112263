"""Elastic partitioning: knees, cuts, the published plan file, losses to neighbours."""

import pytest

from glet.plan.assess import assess
from glet.plan.elastic import ElasticPlanner
from glet.plan.elastic_cuts import Cuts
from glet.plan.menu import Menu
from glet.plan.model_list import render
from glet.plan.problem import Device, DeviceType, MemoryRules, Problem, Rules, Task
from glet.profiles.device_profile import DeviceProfile, Latencies, ModelProfile
from glet.profiles.interference import ConstantInterference, Interference, NoInterference
from glet.types.plan import Plan

SHARES = (20, 40, 50, 60, 80, 100)
CALM = NoInterference()


def rates(*rps: float) -> Latencies:
    """A model whose saturated throughput at SHARES is this: one request at a time."""
    return {share: {1: 1000.0 / rate} for share, rate in zip(SHARES, rps, strict=True)}


def line(**floors_and_work: tuple[float, float]) -> Latencies:
    """p20=(10, 4): 10 ms and 4 ms a request on 20 %."""
    return {
        int(share[1:]): {1: floor_ms + work_ms, 32: floor_ms + 32 * work_ms}
        for share, (floor_ms, work_ms) in floors_and_work.items()
    }


def problem(
    tasks: list[tuple[str, float, float]],
    models: dict[str, Latencies],
    devices: int = 2,
    shares: tuple[int, ...] = SHARES,
    interference: Interference = CALM,
) -> Problem:
    profiles = {name: ModelProfile(name, table) for name, table in models.items()}
    profile = DeviceProfile("gpu", profiles, memory_mb=0.0, where="gpu")
    kind = DeviceType(profile=profile, shares=shares, interference=interference)
    return Problem(
        tasks=tuple(Task(model=m, rate_rps=rate, slo_ms=slo_ms) for m, rate, slo_ms in tasks),
        devices=tuple(Device(number=number, type="gpu") for number in range(devices)),
        types={"gpu": kind},
        rules=Rules(latency_ratio=1.0, memory=MemoryRules(process_mb=0.0)),
    )


def cuts_of(model: Latencies, shares: tuple[int, ...] = SHARES) -> Cuts:
    asked = problem([("a", 1.0, 100.0)], {"a": model}, shares=shares)
    return Cuts(Menu(asked, asked.types["gpu"]))


def placed(plan: Plan) -> list[list[tuple[int, str]]]:
    """(share, model) of what each device has."""
    numbers = sorted({gpulet.device for gpulet in plan.gpulets})
    return [
        [(g.share_pct, model.model) for g in plan.on_device(number) for model in g.models]
        for number in numbers
    ]


@pytest.mark.parametrize(
    ("rps", "knee"),
    [
        ((100, 180, 200, 205, 240, 250), 40),  # 4.0, 2.0, 0.5, 1.75, 0.5 more per percent
        ((100, 104, 150, 160, 200, 220), 50),  # 20 to 40 gains 4 % only: no step
        ((100, 101, 102, 103, 104, 105), 20),  # no step at all
        ((50, 60, 65, 70, 80, 200), 100),
    ],
)
def test_the_knee_is_where_a_percent_brings_most(rps: tuple[float, ...], knee: int) -> None:
    assert SHARES[cuts_of(rates(*rps)).knee("a")] == knee


def test_the_ideal_share_is_the_knee_or_what_the_rate_needs() -> None:
    cuts = cuts_of(rates(100, 180, 200, 205, 240, 250))
    ideals = [SHARES[cuts.ideal("a", rate)] for rate in (10.0, 100.0, 101.0, 180.0, 9999.0)]
    assert ideals == [20, 20, 40, 40, 40]
    # 400/s: 2 x 180 on 40 %, and 40 on 20 %.
    assert cuts.share_needed("a", 400.0) == 100


def test_devices_are_cut_in_two_that_make_a_whole() -> None:
    table = rates(1, 2, 3, 4, 5, 6)
    cuts = cuts_of(table)
    pairs = {(SHARES[size], SHARES[rest]) for size, rest in cuts.rest.items()}
    assert pairs == {(20, 80), (40, 60), (50, 50), (60, 40), (80, 20)}
    odd = (20, 40, 50, 70, 100)
    cuts = cuts_of(table, shares=odd)
    assert [(odd[size], odd[rest]) for size, rest in cuts.rest.items()] == [(50, 50)]
    assert [odd[size] for size in cuts.sizes] == [50, 100]


@pytest.mark.parametrize(
    ("model", "slo_ms", "table", "expected"),
    [
        # 20 %: 2 L(b) <= 142 up to 4 requests, 57/s. 40 %: 6 / 68 s + 46 ms = 134, with 7 155 ms.
        ("vgg16", 142.0, line(p20=(10, 15), p40=(10, 6), p100=(10, 3)), "0,40,0,vgg16,6,88.235294"),
        # 5 / 68 s + 30 ms = 104 of 108 ms, with 6 122 ms.
        ("resnet50", 108.0, line(p20=(10, 4), p100=(10, 2)), "0,20,0,resnet50,5,73.529412"),
    ],
)
def test_the_lines_of_the_published_plan(
    model: str, slo_ms: float, table: Latencies, expected: str
) -> None:
    plan = ElasticPlanner().plan(problem([(model, 68.0, slo_ms)], {model: table}))
    assert render(plan.gpulets) == f"{expected}\n"


def test_two_gpulets_on_a_device_and_no_third() -> None:
    # 10 of 15 ms on any share: nobody can wait for another, 20 % each would be enough.
    models = {name: rates(*[100.0] * 6) for name in "abc"}
    tasks = [(name, 90.0, 15.0) for name in "abc"]
    one = ElasticPlanner().plan(problem(tasks, models, devices=1))
    assert placed(one) == [[(80, "b"), (20, "a")]]
    assert one.unmet == {"c": 90.0}
    two = ElasticPlanner().plan(problem(tasks, models, devices=4))
    assert two.unmet == {}
    assert [len(gpulets) for gpulets in placed(two)] == [2, 1]


def test_a_part_goes_to_what_is_left_when_nothing_is_large_enough() -> None:
    # The knee of b is 100 %: after a has 20 % of the only device, b gets what 80 % carries.
    models = {"a": rates(*[100.0] * 6), "b": rates(50, 60, 65, 70, 80, 200)}
    asked = problem([("a", 90.0, 15.0), ("b", 150.0, 24.0)], models, devices=1)
    plan = ElasticPlanner().plan(asked)
    assert placed(plan) == [[(80, "b"), (20, "a")]]
    assert plan.unmet == {"b": pytest.approx(70.0)}


def test_the_most_occupied_gpulet_is_shared_first() -> None:
    # a and b have both halves, 0.3 and 0.6 occupied; c comes last and joins b.
    wide = {share: {1: 5.0, 2: 10.0} for share in SHARES}
    tasks = [("a", 10.0, 22.0), ("b", 10.0, 23.0), ("c", 10.0, 1000.0)]
    models = {"a": wide, "b": {s: {1: 9.0, 2: 18.0} for s in SHARES}, "c": wide}
    plan = ElasticPlanner().plan(problem(tasks, models, devices=1))
    assert plan.unmet == {}
    shared = next(gpulet for gpulet in plan.gpulets if len(gpulet.models) > 1)
    assert [model.model for model in shared.models] == ["b", "c"]


def test_a_small_loss_is_placed_again_and_a_large_one_prevented() -> None:
    # a fills its gpulet, 10 ms at a time. 1.1 times as slow it serves 91 of 100; the rest takes
    # turns with b: 11 + 1.1 ms of the 25 - 11 ms that it may wait. 1.2 times would leave 83.
    models = {"a": rates(*[100.0] * 6), "b": rates(*[1000.0] * 6)}
    tasks = [("a", 100.0, 25.0), ("b", 10.0, 1000.0)]
    plans = {}
    for factor in (1.1, 1.2):
        asked = problem(tasks, models, interference=ConstantInterference(factor))
        plans[factor] = ElasticPlanner().plan(asked)
        assert assess(asked, plans[factor]).feasible
    assert placed(plans[1.1]) == [[(80, "b"), (80, "a"), (20, "a")]]
    assert [m.rate_rps for m in plans[1.1].gpulets[1].models] == pytest.approx([100.0 / 1.1])
    assert placed(plans[1.2]) == [[(20, "a")], [(20, "b")]]


def test_the_fewest_devices_of_many() -> None:
    # Each fills 20 %; two to a device.
    names = [f"m{number:02d}" for number in range(41)]
    models = {name: rates(*[100.0] * 6) for name in names}
    asked = problem([(name, 90.0, 15.0) for name in names], models, devices=64)
    plan = ElasticPlanner().plan(asked)
    assert plan.unmet == {}
    assert len(placed(plan)) == 21

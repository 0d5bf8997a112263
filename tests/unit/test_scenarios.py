"""The published workloads, as the published scripts write them."""

import pytest

from glet.errors import ConfigError
from glet.plan import tasks
from glet.plan.problem import Task
from glet.workload import scenarios


def text_of(workload: scenarios.Workload) -> str:
    return tasks.render(Task(**wanted._asdict()) for wanted in workload)


# The third step of each scenario.
THIRD = {
    "scen1": "4\n6,300,66,\n13,300,22,\n10,150,62,\n11,150,64,\n",
    "scen2": "2\n12,30,202,\n9,30,142,\n",
    "scen3": "3\n7,30,108,\n9,30,142,\n11,30,64,\n",
    "scen4": "3\n8,30,202,\n10,30,62,\n12,30,202,\n",
    "scen5": "4\n0,30,5,\n8,30,202,\n9,30,142,\n10,30,62,\n",
}


@pytest.mark.parametrize("name", THIRD)
def test_a_scenario_grows_in_its_steps(name: str) -> None:
    cases = scenarios.family(name, 3)
    assert text_of(cases[2]) == THIRD[name]
    assert [w.rate_rps * 3 for w in cases[0]] == [w.rate_rps for w in cases[2]]


def test_applications_run_all_their_models_for_each_request() -> None:
    game = scenarios.scenario("game", 20.0)
    assert {(w.rate_rps, w.slo_ms) for w in game} == {(20.0, 95.0)}
    assert {w.model for w in game} == {"resnet50", *(f"lenet{i}" for i in range(1, 7))}
    traffic = {w.model: w.slo_ms for w in scenarios.scenario("traffic", 20.0)}
    assert traffic == {"ssd-mobilenetv1": 69.0, "googlenet": 67.0, "vgg16": 67.0}


def test_every_combination_but_the_empty_one() -> None:
    models = ("lenet1", "googlenet", "resnet50", "ssd-mobilenetv1", "vgg16")
    cases = scenarios.combinations((0.0, 100.0, 200.0, 400.0), models)
    assert len(cases) == len(set(cases)) == 1023
    assert text_of(cases[0]) == "1\n9,100,142,\n"
    assert [w.rate_rps for w in cases[-1]] == [400.0] * 5
    assert all(w.rate_rps > 0 for case in cases for w in case)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: scenarios.scenario("scen6", 1.0), "no scenario is called 'scen6'; did you mean"),
        (lambda: scenarios.family("game", 3), "no scenario is called 'game'"),
        (lambda: scenarios.combinations((1.0,), ("lenet",)), "called 'lenet'; did you mean 'lenet"),
        (lambda: scenarios.combinations((1.0,), ()), "there is no model"),
        (lambda: scenarios.combinations((1.0, 1.0), ("bert",)), "one rate is there twice"),
        (
            lambda: scenarios.combinations(tuple(range(10)), tuple(scenarios.SLO_MS)),
            "10 rates for 14 models make more than 1000000 tasks",
        ),
    ],
)
def test_what_does_not_exist_is_refused(make: object, says: str) -> None:
    assert callable(make)
    with pytest.raises(ConfigError, match=says):
        make()


def test_objectives_are_those_of_the_published_ids() -> None:
    assert set(scenarios.SLO_MS) == set(tasks.MODEL_IDS)

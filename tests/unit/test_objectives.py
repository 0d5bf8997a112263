"""What apps leave their models: the least budget, by the profiles, and the same whatever serves."""

from pathlib import Path

from glet.control.objectives import AppObjectives
from glet.plan.problem import DeviceType
from glet.profiles.latency_csv import read
from glet.types.app import AppSpec, AppStage, Source, StageInput
from glet.types.model import Signature, TensorSpec
from glet.types.observation import ModelObservation, Observation

PROFILE = read(Path(__file__).parents[2] / "profiles" / "synthetic-gpu").device
TYPES = [DeviceType(profile=PROFILE, shares=PROFILE.shares)]
ONE = TensorSpec(name="y", dtype="uint8", shape=(1,))


def app(slo_ms: float, *models: str) -> AppSpec:
    """These models one after the other."""
    stages = tuple(
        AppStage(
            name=f"s{number}",
            model=model,
            each=0,
            inputs=(
                StageInput(
                    name="x",
                    source=Source(stage=f"s{number - 1}" if number else "", tensor="y"),
                ),
            ),
            outputs=(ONE,),
        )
        for number, model in enumerate(models)
    )
    last = Source(stage=stages[-1].name, tensor="y")
    signature = Signature(inputs=(ONE,), outputs=(ONE,))
    return AppSpec(name="app", signature=signature, slo_ms=slo_ms, stages=stages, outputs=(last,))


def slos(objectives: AppObjectives, *apps: AppSpec) -> dict[str, float]:
    rows = {"googlenet": 66.0, "vgg16": 142.0, "resnet50": 108.0}
    seen = Observation(
        now_s=1.0,
        span_s=1.0,
        models=tuple(ModelObservation(model=name, slo_ms=slo) for name, slo in rows.items()),
    )
    return {model.model: model.slo_ms for model in objectives.tightened(seen, apps).models}


def test_an_app_tightens_its_own_models_and_no_others() -> None:
    found = slos(AppObjectives(TYPES), app(100.0, "googlenet", "vgg16"))
    assert found["googlenet"] <= 66.0
    assert found["vgg16"] < 142.0
    assert found["googlenet"] + found["vgg16"] <= 100.0 + 1e-9
    assert found["resnet50"] == 108.0


def test_a_generous_app_changes_nothing_and_of_two_the_tighter_counts() -> None:
    objectives = AppObjectives(TYPES)
    assert slos(objectives, app(1e6, "googlenet", "vgg16"))["vgg16"] == 142.0
    tight = slos(objectives, app(100.0, "googlenet", "vgg16"))
    both = slos(objectives, app(100.0, "googlenet", "vgg16"), app(1e6, "vgg16"))
    assert both == tight


def test_an_app_of_a_model_without_a_profile_is_left_alone() -> None:
    assert slos(AppObjectives(TYPES), app(10.0, "vgg16", "unheard-of"))["vgg16"] == 142.0
    assert slos(AppObjectives(()), app(10.0, "vgg16"))["vgg16"] == 142.0

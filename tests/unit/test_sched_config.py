"""sched-config.json: what its keys mean, and what is said when it is wrong."""

import json
from pathlib import Path
from typing import Any

import pytest

from glet.errors import ConfigError
from glet.plan import sched_config

PUBLISHED = Path("/work/shared/data/gpulet")
SOUND: dict[str, Any] = {
    "GPUs": [{"Type": "2080ti", "Num": 2}, {"Type": "3080", "Num": 1}],
    "Max Model": 2,
    "Part": 1,
    "SLO Ratio": 0.5,
    "Latency Ratio": 1.2,
    "Interference": 1,
    "Avail_Parts": [20, 40, 100],
    "Incremental": 1,
}


def parsed(**changes: Any) -> sched_config.SchedConfig:
    keys = {name.replace("_", " "): value for name, value in changes.items()}
    return sched_config.parse(json.dumps(SOUND | keys), "f.json")


def test_all_keys_are_read() -> None:
    config = parsed()
    assert [(gpu.type, gpu.count) for gpu in config.gpus] == [("2080ti", 2), ("3080", 1)]
    assert (config.max_models, config.latency_ratio, config.slo_ratio) == (2, 1.2, 0.5)
    assert (config.interference, config.shares, config.planner) == (1, (20, 40, 100), None)


def test_what_is_left_out_is_as_published() -> None:
    config = sched_config.parse('{"GPUs": [{"Type": "a", "Num": 1}]}', "f")
    assert (config.max_models, config.latency_ratio, config.slo_ratio) == (3, 1.1, 1.0)
    assert config.shares == (20, 40, 50, 60, 80, 100)
    assert not config.interference


def test_flags_choose_the_published_algorithms() -> None:
    assert parsed(Self_Tuning=1).planner == "selftuning"
    whole = parsed(Part=0, Self_Tuning=1)
    assert (whole.planner, whole.shares) == ("timeshare", (100,))


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published files are not here")
@pytest.mark.parametrize(
    ("name", "devices", "planner"),
    [
        ("sched-config.json", 2, None),
        ("SchedConfigs/config-gpulet-int.json", 4, None),
        ("SchedConfigs/config-gpulet-noint.json", 2, None),
        ("SchedConfigs/config-greedy_part.json", 2, "selftuning"),
        ("SchedConfigs/config-timesharing_only.json", 2, "timeshare"),
    ],
)
def test_published_files(name: str, devices: int, planner: str | None) -> None:
    config = sched_config.read(PUBLISHED / name)
    assert sum(gpu.count for gpu in config.gpus) == devices
    assert config.planner == planner


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"Part": 2}, "f.json: Part: is 2; valid are 0 and 1"),
        ({"Part": True}, "f.json: Part: expected int, got bool"),
        ({"Max_Model": 0}, "f.json: Max Model: is 0; valid is 1 or more"),
        ({"Latency_Ratio": 0}, "f.json: Latency Ratio: is 0; valid is 0.001..1000"),
        ({"SLO_Ratio": -1.0}, "f.json: SLO Ratio: is -1; valid is"),
        ({"Max_Modle": 1}, "f.json: unknown key 'Max Modle'; did you mean 'Max Model'?"),
        ({"GPUs": []}, "f.json: GPUs: is empty"),
        ({"GPUs": [{"Type": "a", "Num": 0}]}, "GPUs[0].Num: is 0; valid is 1..100000"),
        ({"GPUs": [{"Type": "a", "Num": 100_001}]}, "GPUs[0].Num: is 100001; valid is"),
        ({"GPUs": [{"Type": "a", "Num": 60_000}] * 2}, "120000 devices; at most 100000"),
        ({"GPUs": [{"Type": "a"}]}, "GPUs[0]: missing required field Num"),
        ({"GPUs": [{"Type": "a", "Num": "2"}]}, "GPUs[0].Num: expected int, got str"),
    ],
)
def test_a_wrong_value_is_one_line(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parsed(**changes)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([], "Avail_Parts: there is no share"),
        ([0, 50], "Avail_Parts: share 0 is not in 1..100 percent"),
        ([50, 101], "Avail_Parts: share 101 is not in 1..100 percent"),
        ([60, 40], "Avail_Parts: share 40 comes after 60; valid are shares that ascend"),
        ([40, 40], "Avail_Parts: share 40 comes after 40"),
    ],
)
def test_shares_are_percent_and_ascend(parts: list[int], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sched_config.parse(json.dumps(SOUND | {"Avail_Parts": parts}), "f.json")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{\n  "GPUs": [,]\n}', "f.json:2:12: Expecting value"),
        ('{"GPUs": 1', "f.json:1:11: Expecting ',' delimiter"),
        ("[" * 100_000, "f.json: is nested too deeply"),
        ('{"GPUs": [], "GPUs": []}', "f.json: key 'GPUs' is there twice"),
        ('{"GPUs": [], "Latency Ratio": NaN}', "f.json: NaN is no number that can be used"),
        ("[]", "f.json: expected object, got array"),
    ],
)
def test_what_is_no_json_is_named_by_line_and_column(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        sched_config.parse(text, "f.json")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)

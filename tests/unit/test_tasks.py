"""The tasks file is read and written exactly, and says where it is wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.errors import ConfigError
from glet.plan import tasks
from glet.plan.problem import Task

PUBLISHED = """3
7,120,108,
0,1500,5,
13,40,22,
"""


def test_published_format_survives_a_round_trip_byte_for_byte() -> None:
    assert tasks.render(tasks.parse(PUBLISHED, "tasks.csv")) == PUBLISHED


def test_meaning_of_the_columns() -> None:
    first, second, third = tasks.parse(PUBLISHED, "f")
    assert first == Task(model="resnet50", rate_rps=120.0, slo_ms=108.0)
    assert (second.model, third.model) == ("lenet1", "bert")


def test_ids_are_the_published_ones() -> None:
    named = {0: "lenet1", 5: "lenet6", 6: "googlenet", 8: "ssd-mobilenetv1", 9: "vgg16"}
    later = {10: "mnasnet1_0", 11: "mobilenet_v2", 12: "densenet161", 13: "bert"}
    assert {i: tasks.MODEL_IDS[i] for i in named | later} == named | later
    assert len(tasks.MODEL_IDS) == 14


def test_names_fractions_and_a_missing_last_comma() -> None:
    text = "2\nmy-model,0.5,12.25,\r\n resnet50 , 1e2 ,108\n"
    read = tasks.parse(text, "f")
    assert read[0] == Task(model="my-model", rate_rps=0.5, slo_ms=12.25)
    assert read[1] == Task(model="resnet50", rate_rps=100.0, slo_ms=108.0)
    assert tasks.render(read) == "2\nmy-model,0.5,12.25,\n7,100,108,\n"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "f:1:1: the number of tasks is ''; valid is 1..100000"),
        ("three\n7,1,1,\n", "f:1:1: the number of tasks is 'three'"),
        ("0\n", "f:1:1: the number of tasks is '0'"),
        ("-1\n7,1,1,\n", "f:1:1: the number of tasks is '-1'"),
        ("100001\n", "f:1:1: the number of tasks is '100001'"),
        ("99999999999999999999\n", "f:1:1: the number of tasks"),
        ("2\n7,1,1,\n", "f:1: says 2 tasks, 1 follow"),
        ("1\n7,1,1,\n6,1,1,\n", "f:1: says 1 tasks, 2 follow"),
        ("1\n7,120\n", "f:2:1: is '7,120'; valid is model,rate_rps,slo_ms,"),
        ("1\n7,120,108,3\n", "f:2:1: is '7,120,108,3'; valid is model,rate_rps,slo_ms,"),
        ("1\n14,120,108,\n", "f:2:1: model id 14 is unknown; valid are 0..13"),
        ("1\n,120,108,\n", "f:2:1: model is ''"),
        ("1\nreserved,120,108,\n", "f:2:1: model is 'reserved'"),
        ("1\nx\x1b[31m,120,108,\n", "f:2:1: model is"),
        ("1\n7,0,108,\n", "f:2:3: rate_rps is '0'; valid is a number above 0 and below 1e+09"),
        ("1\n7,-3,108,\n", "f:2:3: rate_rps is '-3'"),
        ("1\n7,nan,108,\n", "f:2:3: rate_rps is 'nan'"),
        ("1\n7,inf,108,\n", "f:2:3: rate_rps is 'inf'"),
        ("1\n7,1_000,108,\n", "f:2:3: rate_rps is '1_000'"),
        ("1\n7,1e9,108,\n", "f:2:3: rate_rps is '1e9'"),
        ("1\n7,120,0,\n", "f:2:7: slo_ms is '0'"),
        ("1\nresnet50,120,x,\n", "f:2:14: slo_ms is 'x'"),
        ("2\n7,1,1,\nresnet50,1,1,\n", "f:3:1: model 'resnet50' is there twice, before on line 2"),
    ],
)
def test_a_wrong_file_is_one_line_with_its_place(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        tasks.parse(text, "f")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no\.csv: cannot be read"):
        tasks.read(tmp_path / "no.csv")


@given(st.text(max_size=60))
def test_any_text_gives_tasks_or_one_line(text: str) -> None:
    said = ""
    try:
        assert len(tasks.parse(f"1\n{text}", "f")) == 1
    except ConfigError as error:
        said = str(error)
    assert len(said.splitlines()) <= 1


AMOUNTS = st.floats(1e-6, 1e9, exclude_max=True)
TASKS = st.lists(
    st.builds(Task, model=st.text("abz_-", min_size=1), rate_rps=AMOUNTS, slo_ms=AMOUNTS),
    min_size=1,
    max_size=5,
    unique_by=lambda task: task.model,
)


@given(TASKS)
def test_all_tasks_read_back_equal(wanted: list[Task]) -> None:
    assert tasks.parse(tasks.render(wanted), "f") == tuple(wanted)

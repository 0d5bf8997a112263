"""ModelList.txt is read and written exactly, and says where it is wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.errors import ConfigError
from glet.plan import model_list
from glet.types.plan import GpuletPlan, ModelShare, Plan, problems

PUBLISHED = """0,40,0,vgg16,6,88.235291
0,60,0,reserved,32,0.000000
1,50,0,resnet50,4,20.000000
1,50,1,lenet1,2,5.000000
1,50,1,bert,8,5.000000
"""


def test_published_format_survives_a_round_trip_byte_for_byte() -> None:
    plan = model_list.parse(PUBLISHED, "ModelList.txt")
    assert model_list.render(plan.gpulets) == PUBLISHED


def test_meaning_of_the_columns() -> None:
    first, idle, _, shared = model_list.parse(PUBLISHED, "f").gpulets
    assert (first.device, first.share_pct, first.models[0].model) == (0, 40, "vgg16")
    assert first.models[0].rate_rps == pytest.approx(6 * 1000 / 88.235291)
    assert idle.models == ()
    assert [(m.model, m.time_share) for m in shared.models] == [("lenet1", 0.5), ("bert", 0.5)]


def test_a_rate_becomes_a_duty_cycle() -> None:
    share = ModelShare(model="m", batch=5, rate_rps=100.0)
    text = model_list.render([GpuletPlan(device=0, share_pct=100, models=(share,))])
    assert text == "0,100,0,m,5,50.000000\n"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("0,40,0,vgg16,6", "5 columns"),
        ("x,40,0,vgg16,6,1.0", "gpu is 'x'"),
        ("0,0,0,vgg16,6,1.0", "1..100"),
        ("0,101,0,vgg16,6,1.0", "1..100"),
        ("0,40,0,,6,1.0", "model is empty"),
        ("0,40,0,vgg16,0,1.0", "at least 1"),
        ("0,40,0,vgg16,6,nan", "duty_cycle_ms is 'nan'"),
        ("0,40,0,vgg16,6,-1", "duty_cycle_ms is '-1'"),
        ("0,60,1,vgg16,6,1.0", "add up to 120 %"),
    ],
)
def test_a_wrong_line_is_named(line: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        model_list.parse(f"0,60,0,lenet1,1,1.0\n{line}\n", "plan.txt")
    assert str(caught.value).startswith("plan.txt:2: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_twice_on_one_gpulet_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^f:2: .*'m' is there twice"):
        model_list.parse("0,60,0,m,1,1.0\n0,60,0,m,2,1.0\n", "f")


def test_missing_and_empty_files_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.txt: cannot be read"):
        model_list.read(tmp_path / "nothing.txt")
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(ConfigError, match="is empty"):
        model_list.read(tmp_path / "empty.txt")


@given(st.text(max_size=80))
def test_any_text_gives_a_plan_or_one_error(text: str) -> None:
    try:
        plan = model_list.parse(text, "f")
    except ConfigError:
        return
    assert problems(plan.gpulets) == []
    assert plan.gpulets


SHARES = st.builds(
    ModelShare,
    model=st.text("abc_0", min_size=1, max_size=4),
    batch=st.integers(1, 64),
    rate_rps=st.floats(0.001, 1e5),
)
GPULETS = st.lists(
    st.lists(SHARES, max_size=3, unique_by=lambda share: share.model), min_size=1, max_size=5
)


@given(GPULETS)
def test_every_plan_reads_back(models: list[list[ModelShare]]) -> None:
    gpulets = tuple(
        GpuletPlan(device=index, share_pct=50, models=tuple(shares))
        for index, shares in enumerate(models)
    )
    back: Plan = model_list.parse(model_list.render(gpulets), "f")
    assert [(g.device, g.share_pct) for g in back.gpulets] == [
        (g.device, g.share_pct) for g in gpulets
    ]
    for gpulet, original in zip(back.gpulets, gpulets, strict=True):
        for read, written in zip(gpulet.models, original.models, strict=True):
            assert (read.model, read.batch) == (written.model, written.batch)
            duty_cycle_ms = written.batch * 1000 / written.rate_rps
            assert read.duty_cycle_ms == pytest.approx(duty_cycle_ms, abs=1e-6)

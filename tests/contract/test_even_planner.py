"""What a plan without profiles owes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glet.plan.even import EvenPlanner, Load
from glet.types.device import DeviceInfo
from glet.types.plan import problems

PLANNERS = [EvenPlanner()]

DEVICES = st.lists(
    st.one_of(
        st.builds(
            lambda count: DeviceInfo(name="d", kind="cpu", type="cpu", cores=tuple(range(count))),
            st.integers(1, 16),
        ),
        st.just(DeviceInfo(name="d", kind="profiled", type="p", emulated=True)),
    ),
    max_size=4,
).map(lambda devices: dict(enumerate(devices)))
LOADS = st.lists(
    st.builds(
        Load,
        model=st.text("abcdef", min_size=1, max_size=3),
        slo_ms=st.floats(1, 1000),
        max_batch=st.integers(1, 64),
        cost=st.floats(0, 1e6),
    ),
    max_size=12,
    unique_by=lambda load: load.model,
)


@pytest.mark.parametrize("planner", PLANNERS, ids=lambda planner: type(planner).__name__)
@given(devices=DEVICES, loads=LOADS)
def test_planner(planner: EvenPlanner, devices: dict[int, DeviceInfo], loads: list[Load]) -> None:
    plan = planner.plan(devices, loads)
    assert problems(plan.gpulets) == []
    assert {gpulet.device for gpulet in plan.gpulets} <= devices.keys()
    assert {*plan.models(), *plan.unmet} == {load.model for load in loads}
    assert not {*plan.models()} & {*plan.unmet}
    caps = {load.model: load.max_batch for load in loads}
    assert all(m.batch <= caps[m.model] for g in plan.gpulets for m in g.models)
    assert planner.plan(devices, list(reversed(loads))) == plan

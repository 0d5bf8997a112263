"""When a frontend calls itself ready, by plans and routes that are made up."""

from typing import Any

from glet.serve.readiness import Readiness
from glet.types.plan import GpuletPlan, ModelShare, Plan


class Loop:
    """Keeps what doors would say."""

    def set_ready(self, ready: bool) -> None:
        self.ready = ready


def plan(*models: str) -> Plan:
    shares = tuple(
        ModelShare(model=name, batch=1, rate_rps=1.0, time_share=1.0 / len(models))
        for name in models
    )
    return Plan(gpulets=(GpuletPlan(device=0, share_pct=100, models=shares),))


def test_it_is_ready_when_all_serve_and_stays_so_until_none_does() -> None:
    loop: Any = Loop()
    readiness = Readiness(loop)
    said = []
    for routes in [{}, {"a": [1]}, {"a": [1], "b": [1]}, {"a": [1]}, {}, {"b": [1]}]:
        readiness.update(plan("a", "b"), (), {}, routes)
        said.append((loop.ready, readiness.is_ready))
    assert said == [(ready, ready) for ready in (False, False, True, True, False, True)]


def test_what_is_withdrawn_is_not_waited_for() -> None:
    loop: Any = Loop()
    readiness = Readiness(loop)
    readiness.update(None, (), {}, {})
    assert not loop.ready
    readiness.update(plan("a", "b"), {"b"}, {}, {"a": [1]})
    assert loop.ready

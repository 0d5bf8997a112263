"""Policy `static`: what the plan promises is what is wanted."""

from collections import defaultdict

from glet.policy.policy import Target, Targets
from glet.types.observation import Observation


class StaticPolicy:
    """Serves a plan as it is. Targets are the rates of the plan, 0 where it names none."""

    name = "static"
    plans = False

    def targets(self, observation: Observation) -> Targets:
        planned: dict[str, float] = defaultdict(float)
        for gpulet in observation.plan.gpulets:
            for share in gpulet.models:
                planned[share.model] += share.rate_rps
        return tuple(
            Target(model=model.model, rate_rps=planned[model.model], slo_ms=model.slo_ms)
            for model in sorted(observation.models, key=lambda model: model.model)
        )

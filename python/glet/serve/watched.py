"""Where a frontend's numbers are, and what it answers to clients that ask for them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from glet.serve.control_link import ControlLink
from glet.serve.frontend_report import models_body, stats_body
from glet.serve.route_table import Routing
from glet.serve.tracing import Tracing
from glet.wire.messages import BackendState

NO_OBSERVATION: dict[str, Any] = {
    "observation": None,
    "age_s": None,
    "controller": None,
    "changes": [],
}


@dataclass(frozen=True)
class Watched:
    """Where the frontend's numbers are. `stats` is that of core.FrontendLoop."""

    states: Callable[[], Mapping[str, BackendState]]
    silent: Callable[[], frozenset[str]]
    stats: Callable[[], Mapping[str, Mapping[str, Any]]]
    routing: Callable[[], Routing]
    control: ControlLink | None
    tracing: Tracing | None

    def answer(self, op: str, uptime_s: float) -> dict[str, Any]:
        """To an op without arguments: section 4 of wire/README.md."""
        if op == "models":
            return {"body": models_body(self.states(), self.routing())}
        if op == "stats":
            body = stats_body(self.states(), self.silent(), self.stats(), uptime_s)
            if self.control is not None:
                body["controller"] = self.control.status()
            return {"body": body}
        if op == "observation":
            return {"body": self.control.body() if self.control is not None else NO_OBSERVATION}
        return {
            "op": "error",
            "error": "invalid_input",
            "message": f"op {op!r} is unknown; valid are hello, infer, cancel, models, stats, "
            "observation, load, unload",
        }

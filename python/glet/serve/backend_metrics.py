"""What a backend tells Prometheus: its device, and the gpulets and executors on it."""

import glet
from glet.config.security import SecurityConfig
from glet.observe.busy import BusyDevices
from glet.observe.metrics import Snapshot, render_metrics
from glet.serve.metrics_server import MetricsServer
from glet.serve.process_usage import process_usage
from glet.wire.messages import BackendState


class BackendMetrics:
    """Keeps the last state; whoever scrapes gets that."""

    def __init__(
        self, address: str, *, insecure: bool, security: SecurityConfig | None = None
    ) -> None:
        """Listens at `address`, HOST:PORT. Raises ConfigError."""
        self._busy = BusyDevices()
        # Replaced as a whole: a scrape is in a thread of its own.
        self._told: tuple[BackendState | None, dict[tuple[str, int], float]] = (None, {})
        self._server = MetricsServer(address, self._page, insecure=insecure, security=security)

    @property
    def address(self) -> str:
        """Where it listens."""
        return self._server.address

    def take(self, state: BackendState) -> None:
        """The state as frontends get it."""
        self._busy.take([state])
        self._told = (state, self._busy.ratios())

    def close(self) -> None:
        self._server.close()

    def _page(self) -> str:
        state, busy = self._told
        snapshot = Snapshot(
            version=glet.__version__,
            role="backend",
            process=process_usage(),
            states={} if state is None else {state.name: state},
            busy=busy,
        )
        return render_metrics(snapshot, triton=False)

"""Routes of the frontend that are glet's own: metrics, the dashboard and what it asks for."""

import hmac
from collections.abc import Callable
from functools import partial
from importlib.resources import files

from glet.clock import Clock
from glet.config.cluster import ClusterConfig
from glet.errors import InvalidInputError, RequestError
from glet.observe.metrics_text import CONTENT_TYPE
from glet.serve.loading import Override
from glet.serve.watched import Watched
from glet.serve.web.failure import http_failure
from glet.serve.web.frontend_web import FrontendWeb
from glet.serve.web.monitor import Monitor
from glet.serve.web.operations import Loads, later
from glet.serve.web.request import Headers, WebAnswer, WebRequest, json_answer
from glet.serve.web.routes import Asked, Routes

Reply = Callable[[WebRequest, WebAnswer], None]

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
# The page needs nothing from elsewhere, and nobody else may show it inside a page of theirs.
GUARDED: Headers = (
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    # A newer glet at the same address has another page.
    ("cache-control", "no-cache"),
)
INDEX = "index.html"
TO_DASHBOARD: Headers = (("location", "/dashboard"),)


class Pages:
    """All of them, over one monitor."""

    def __init__(
        self,
        monitor: Monitor,
        loads: Loads,
        reply: Reply,
        *,
        triton: bool,
        token: str,
        guarded: bool = False,
    ) -> None:
        """With `token`, who sends it as `Authorization: Bearer` may load and unload models.

        `guarded`: the core has tokens of its own and lets only those through who may.
        """
        self._monitor = monitor
        self._loads = loads
        self._reply = reply
        self._triton = triton
        self._token = token
        self._guarded = guarded
        self._assets = {
            file.name: (KINDS["." + file.name.rpartition(".")[2]], file.read_bytes())
            for file in files("glet.serve.web").joinpath("dashboard").iterdir()
            if "." + file.name.rpartition(".")[2] in KINDS
        }

    def add_to(self, routes: Routes) -> None:
        """Their paths."""
        routes.add("GET", "/metrics", self._metrics)
        routes.add("GET", "/", lambda _: WebAnswer(status=307, headers=TO_DASHBOARD))
        routes.add("GET", "/dashboard", partial(self._asset, INDEX))
        for name in self._assets.keys() - {INDEX}:
            routes.add("GET", f"/dashboard/{name}", partial(self._asset, name))
        routes.add("GET", "/glet/state.json", self._state)
        for verb in ("load", "unload"):
            routes.add("POST", f"/glet/models/{{model}}/{verb}", partial(self._change, verb))

    def _metrics(self, _: Asked) -> WebAnswer:
        page = self._monitor.metrics(triton=self._triton)
        return WebAnswer(headers=(("content-type", CONTENT_TYPE),), body=page.encode())

    def _asset(self, name: str, _: Asked) -> WebAnswer:
        kind, body = self._assets[name]
        return WebAnswer(headers=(("content-type", kind), *GUARDED), body=body)

    def _state(self, asked: Asked) -> WebAnswer:
        after = asked.query.get("after", "0")
        if not (after.isascii() and after.isdecimal() and len(after) < 16):
            raise InvalidInputError(f"after is {after[:20]!r}; valid is `seq` of an earlier answer")
        state = {
            **self._monitor.state(int(after)),
            "can_change": self._guarded or bool(self._token),
        }
        return json_answer(state, 200, (("cache-control", "no-store"),))

    def _change(self, verb: str, asked: Asked) -> WebAnswer | None:
        refused = self._refusal(asked.request)
        if refused is not None:
            return refused
        request, name = asked.request, asked.params["model"]

        def fail(error: RequestError) -> None:
            self._reply(request, http_failure(error))

        done = later(lambda: self._reply(request, json_answer({"name": name, verb: True})), fail)
        if verb == "load":
            self._loads.load(name, Override(), done)
        else:
            self._loads.unload(name, done)
        return None

    def _refusal(self, request: WebRequest) -> WebAnswer | None:
        if self._guarded:
            return None
        if not self._token:
            line = "this glet was started without a dashboard_token: models are not changed here"
            return json_answer({"error": line}, 403)
        scheme, _, given = request.header("authorization").partition(" ")
        is_right = hmac.compare_digest(given.strip().encode(), self._token.encode())
        if scheme.lower() == "bearer" and is_right:
            return None
        line = "wrong or no token; send the dashboard_token as Authorization: Bearer"
        return json_answer({"error": line}, 401, (("www-authenticate", "Bearer"),))


def add_pages(
    web: FrontendWeb, loads: Loads, watched: Watched, cluster: ClusterConfig, clock: Clock
) -> Monitor:
    """As a cluster.toml says. Call tick() of what comes back once a second."""
    monitor = Monitor(watched, clock)
    pages = Pages(
        monitor,
        loads,
        web.reply,
        triton=cluster.metrics.triton,
        token=cluster.dashboard_token,
        guarded=bool(cluster.security.tokens_file),
    )
    pages.add_to(web.routes)
    return monitor

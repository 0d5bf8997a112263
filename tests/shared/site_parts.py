"""The pages of a made-up frontend, served for a browser."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from monitor_parts import FakeFrontend

from glet.errors import RequestError
from glet.serve.web.failure import http_failure
from glet.serve.web.pages import Pages
from glet.serve.web.request import WebAnswer, WebRequest
from glet.serve.web.routes import Routes


class FakeLoads:
    """Loads at once, or refuses with `error`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.error: RequestError | None = None

    def load(self, name: str, override: Any, done: Any) -> None:
        self.asked.append(("load", name))
        done(self.error)

    def unload(self, name: str, done: Any, *, dependents: bool = False) -> None:
        self.asked.append(("unload", name))
        done(self.error)


class FakeSite:
    """Pages over a FakeFrontend; ask() gives the answer, whether it came at once or later."""

    def __init__(self, token: str = "", *, guarded: bool = False) -> None:
        self.frontend, self.loads, self._routes = FakeFrontend(), FakeLoads(), Routes()
        self._later: list[WebAnswer] = []
        pages = Pages(
            self.frontend.monitor,
            self.loads,
            lambda _, answer: self._later.append(answer),
            triton=True,
            token=token,
            guarded=guarded,
        )
        pages.add_to(self._routes)

    def ask(self, target: str, method: str = "GET", **headers: str) -> WebAnswer:
        request = WebRequest(method=method, target=target, headers=tuple(headers.items()))
        try:
            handler, asked = self._routes.find(request)
            return handler(asked) or self._later.pop()
        except RequestError as error:
            return http_failure(error)


@contextmanager
def served(site: FakeSite) -> Iterator[str]:
    """The site's URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = {name.lower(): value for name, value in self.headers.items()}
            answer = site.ask(self.path, self.command, **given)
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        do_POST = do_GET  # noqa: N815 - the name that http.server calls

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

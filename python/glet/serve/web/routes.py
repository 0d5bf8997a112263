"""Which function answers which HTTP method and path."""

import difflib
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from glet.serve.web.failure import MethodError, NotFoundError
from glet.serve.web.request import WebAnswer, WebRequest

Handler = Callable[["Asked"], WebAnswer | None]
"""None: it is answered later, by whoever the handler told."""


class Asked(NamedTuple):
    """A request that a route fits: what its path and its query say, and the whole of it."""

    params: dict[str, str]
    query: dict[str, str]
    request: WebRequest


class Routes:
    """Paths with `{name}` for a part of any text. Adding what is there replaces it."""

    def __init__(self) -> None:
        self._routes: dict[tuple[str, ...], dict[str, Handler]] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        """`GET` is also asked for by HEAD, whose body the core leaves out."""
        self._routes.setdefault(_parts(path), {})[method] = handler

    def paths(self) -> list[str]:
        """All paths, as they were added, sorted."""
        return sorted("/" + "/".join(parts) for parts in self._routes)

    def find(self, request: WebRequest) -> tuple[Handler, Asked]:
        """Raises NotFoundError and MethodError. A path with a slash at its end is the same one.

        Literal parts win against names: `/models/stats` is no model called `stats`.
        """
        path, _, query = request.target.partition("?")
        parts = tuple(unquote(part) for part in _parts(path))
        fitting = [route for route in self._routes if _fits(route, parts)]
        if not fitting:
            raise NotFoundError(f"no resource {path[:200]!r}; {self._nearest(parts)}")
        route = max(fitting, key=lambda found: [not _is_name(part) for part in found])
        methods = self._routes[route]
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            allowed = tuple(sorted({*methods, *(["HEAD"] if "GET" in methods else [])}))
            raise MethodError(
                f"{path[:200]} has no method {request.method[:20]}; valid: {', '.join(allowed)}",
                allowed,
            )
        params = {
            name[1:-1]: part for name, part in zip(route, parts, strict=True) if _is_name(name)
        }
        return handler, Asked(params, dict(parse_qsl(query, keep_blank_values=True)), request)

    def _nearest(self, parts: tuple[str, ...]) -> str:
        """A path that was meant, the names in it as they were asked for."""
        meant: dict[str, None] = {}
        for route in self._routes:
            if len(route) == len(parts):
                filled = [part if _is_name(n) else n for n, part in zip(route, parts, strict=True)]
                meant["/" + "/".join(filled)[:200]] = None
        asked = "/" + "/".join(parts)[:200]
        close = difflib.get_close_matches(asked, list(meant), n=1)
        if close:
            return f"did you mean {close[0]!r}?"
        return "GET /v2 says what this server is, GET /v2/models which models it has"


def _parts(path: str) -> tuple[str, ...]:
    return tuple(path.strip("/").split("/"))


def _is_name(part: str) -> bool:
    return part.startswith("{") and part.endswith("}")


def _fits(route: tuple[str, ...], parts: tuple[str, ...]) -> bool:
    return len(route) == len(parts) and all(
        (bool(part) if _is_name(name) else name == part)
        for name, part in zip(route, parts, strict=True)
    )

"""openapi.json against the routes that it describes."""

from pathlib import Path
from typing import Any

import pytest
from web_parts import WebRig

from glet.serve.web.rest import openapi

# Of the core, of pages.py, and files of the dashboard that nobody asks for by a document.
ELSEWHERE = {
    "/v2/models/{model}/infer",
    "/v2/models/{model}/versions/{version}/infer",
    "/metrics",
    "/glet/state.json",
    "/glet/models/{model}/load",
    "/glet/models/{model}/unload",
}


@pytest.fixture
def rig(tmp_path: Path) -> WebRig:
    return WebRig(tmp_path)


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if "$ref" in value else set()
        return own.union(*(references(each) for each in value.values()))
    return set().union(*(references(each) for each in value)) if isinstance(value, list) else set()


def test_it_has_every_route_and_no_other(rig: WebRig) -> None:
    assert set(rig.web.routes.paths()) | ELSEWHERE == set(openapi()["paths"])


def test_every_method_of_it_is_there(rig: WebRig) -> None:
    for path, methods in openapi()["paths"].items():
        if path in ELSEWHERE:
            continue
        filled = path.replace("{model}", "lenet").replace("{version}", "1").replace("{region}", "r")
        answered = {m for m in ("get", "post") if rig.http(m.upper(), filled).status != 405}
        assert answered == set(methods), path


def test_what_it_refers_to_is_there_and_all_of_it_is_used() -> None:
    document = openapi()
    parts = {
        f"#/components/{kind}/{name}"
        for kind, named in document["components"].items()
        if kind != "securitySchemes"
        for name in named
    }
    assert references(document) == parts


def test_operations_have_names_of_their_own_and_a_way_to_fail() -> None:
    operations = [op for methods in openapi()["paths"].values() for op in methods.values()]
    assert len({op["operationId"] for op in operations}) == len(operations)
    assert all({"400"} <= op["responses"].keys() for op in operations)


def test_it_is_served_with_the_version(rig: WebRig) -> None:
    served = rig.get("/openapi.json")
    assert served["openapi"] == "3.1.0"
    assert served["info"]["version"] == rig.get("/v2")["version"]

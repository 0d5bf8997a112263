"""Metrics, dashboard and state over HTTP: what each path answers."""

import re

import msgspec
import pytest
from site_parts import FakeSite

from glet.errors import ModelNotFoundError


@pytest.fixture
def site() -> FakeSite:
    return FakeSite()


def test_metrics_are_the_frontends(site: FakeSite) -> None:
    site.frontend.tick()
    site.frontend.tick()
    answer = site.ask("/metrics")
    assert dict(answer.headers)["content-type"].startswith("text/plain; version=0.0.4")
    page = answer.body.decode()
    for line in (
        'glet_requests_total{model="lenet",outcome="ok"} 108',
        'glet_model_serving{model="lenet"} 0',
        'glet_model_slo_seconds{model="lenet"} 0.025',
        'glet_gpulet_busy_ratio{backend="device0",device="0",gpulet="5"} 0.4',
        'glet_plan_changes_total{trigger="epoch",change="gpulets"} 2',
        'nv_inference_request_success{model="lenet",version="1"} 108',
    ):
        assert line in page.splitlines()
    assert 'role="frontend"' in page


def test_the_state_has_what_stats_and_models_have_and_the_last_minutes(
    site: FakeSite,
) -> None:
    for _ in range(3):
        site.frontend.tick(answers=50, refused=10)
    state = msgspec.json.decode(site.ask("/glet/state.json").body)
    assert state["models"]["lenet"]["slo_ms"] == 25.0
    assert state["stats"]["models"]["lenet"]["ok"] == 158
    (device,) = state["devices"]
    assert (device["name"], device["alive"], device["usage"]["utilization"]) == (
        "device0", True, 0.5,
    )  # fmt: skip
    (gpulet,) = device["gpulets"]
    assert gpulet["busy"] == pytest.approx(0.4)
    assert [model["model"] for model in gpulet["models"]] == ["lenet", "bert"]
    assert state["history"]["models"]["lenet"]["offered_rps"] == [60.0, 60.0]
    assert state["controller"]["mode"] == "follow"
    assert state["can_change"] is False


def test_only_what_is_new_is_asked_for(site: FakeSite) -> None:
    for _ in range(4):
        site.frontend.tick()
    seq = msgspec.json.decode(site.ask("/glet/state.json").body)["history"]["seq"]
    site.frontend.tick()
    history = msgspec.json.decode(site.ask(f"/glet/state.json?after={seq}").body)["history"]
    assert history["ago_s"] == [0.0]


@pytest.mark.parametrize("after", ["-1", "x", "1e3", "9" * 30, "٣"])
def test_a_place_in_history_that_is_none_is_refused(site: FakeSite, after: str) -> None:
    answer = site.ask(f"/glet/state.json?after={after}")
    assert answer.status == 400
    assert b"valid is `seq`" in answer.body


def test_the_root_leads_to_the_dashboard(site: FakeSite) -> None:
    answer = site.ask("/")
    assert (answer.status, dict(answer.headers)["location"]) == (307, "/dashboard")


def test_everything_that_the_page_names_is_there_and_nothing_from_elsewhere(
    site: FakeSite,
) -> None:
    page = site.ask("/dashboard").body.decode()
    assert "http:" not in page
    assert "https:" not in page
    seen, waiting = set(), set(re.findall(r'(?:src|href)="(/dashboard/[^"]+)"', page))
    while waiting - seen:
        path = (waiting - seen).pop()
        seen.add(path)
        answer = site.ask(path)
        assert answer.status == 200, path
        headers = dict(answer.headers)
        assert "default-src 'none'" in headers["content-security-policy"]
        if path.endswith(".js"):
            assert headers["content-type"].startswith("text/javascript")
            names = re.findall(r'from "\./([^"]+)"', answer.body.decode())
            waiting |= {f"/dashboard/{name}" for name in names}
    assert len(seen) >= 6


def test_another_file_is_not_given(site: FakeSite) -> None:
    for path in ("/dashboard/pages.py", "/dashboard/..%2fpages.py", "/dashboard/../pages.py"):
        assert site.ask(path).status == 404


def test_without_a_token_nothing_is_changed(site: FakeSite) -> None:
    answer = site.ask("/glet/models/lenet/unload", "POST", authorization="Bearer ")
    assert answer.status == 403
    assert b"dashboard_token" in answer.body
    assert site.loads.asked == []


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic s3cret"},
     {"authorization": "s3cret"}, {"authorization": "Bearer s3creté"}],
)  # fmt: skip
def test_a_wrong_token_changes_nothing(headers: dict[str, str]) -> None:
    site = FakeSite("s3cret")
    answer = site.ask("/glet/models/lenet/unload", "POST", **headers)
    assert answer.status == 401
    assert dict(answer.headers)["www-authenticate"] == "Bearer"
    assert site.loads.asked == []


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_with_the_token_models_are_loaded_and_unloaded(verb: str) -> None:
    site = FakeSite("s3cret")
    answer = site.ask(f"/glet/models/le%20net/{verb}", "POST", authorization="Bearer s3cret")
    assert (answer.status, msgspec.json.decode(answer.body)) == (
        200,
        {"name": "le net", verb: True},
    )
    assert site.loads.asked == [(verb, "le net")]
    assert msgspec.json.decode(site.ask("/glet/state.json").body)["can_change"] is True


def test_what_cannot_be_loaded_says_why() -> None:
    site = FakeSite("s3cret")
    site.loads.error = ModelNotFoundError("no model 'lenett'; did you mean 'lenet'?")
    answer = site.ask("/glet/models/lenett/load", "POST", authorization="bearer s3cret")
    assert answer.status == 404
    assert b"did you mean" in answer.body


def test_where_the_core_asks_for_tokens_pages_ask_no_more() -> None:
    site = FakeSite("s3cret", guarded=True)
    assert msgspec.json.decode(site.ask("/glet/state.json").body)["can_change"] is True
    assert site.ask("/glet/models/lenet/unload", "POST").status == 200
    assert site.loads.asked == [("unload", "lenet")]

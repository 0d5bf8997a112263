"""The dashboard in a browser, over a frontend that is made up: what it shows, and what it does."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from site_parts import FakeSite, served

from glet.errors import UnavailableError

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
LIMIT_MS = 60_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright")
    if not os.access(CHROMIUM, os.X_OK):
        pytest.skip(f"no {CHROMIUM} here (Debian package chromium)")
    with playwright.sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS, timeout=LIMIT_MS)
        yield made
        made.close()


@pytest.fixture
def site() -> FakeSite:
    made = FakeSite("s3cret")
    for _ in range(5):
        made.frontend.tick(answers=50)
    return made


class Visitor:
    """A page that is open, and what its console said."""

    def __init__(self, context: Any, url: str) -> None:
        self.console: list[str] = []
        self.page = context.new_page()
        self.page.set_default_timeout(LIMIT_MS)
        self.page.on("console", lambda said: self.console.append(said.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.goto(url)
        self.shows("#model-list", "lenet")

    def shows(self, where: str, text: str) -> None:
        """Waits until it does."""
        self.page.locator(where).get_by_text(text).first.wait_for()


@pytest.fixture
def visit(browser: Any, site: FakeSite) -> Iterator[Any]:
    """Opens the dashboard with the given options of a browser's context."""
    contexts = []
    with served(site) as url:

        def open_page(**options: Any) -> Visitor:
            contexts.append(browser.new_context(**options))
            return Visitor(contexts[-1], f"{url}/")

        yield open_page
        for context in contexts:
            context.close()


def test_it_shows_devices_models_rates_and_changes(visit: Any, site: FakeSite) -> None:
    site.frontend.control.rows = [
        {"round": 9, "ago_s": 5.0, "errors": [], "reorganises": True,
         "text": "plan 9: 1 gpulet on 1 device (epoch; rates grew)"},
    ]  # fmt: skip
    seen = visit()
    assert seen.page.url.endswith("/dashboard")
    seen.shows("#device-list", "device0")
    seen.shows("#device-list", "40 % (37.5 given)")
    seen.shows("#model-list", "50 of 50 /s")
    seen.shows("#tiles", "1 of 1")
    seen.shows("#change-list", "plan 9: 1 gpulet on 1 device (epoch; rates grew)")
    site.frontend.tick(answers=70)
    seen.shows("#model-list", "70 of 70 /s")
    bar = seen.page.get_by_role("img", name="40 percent with lenet and bert, 40 percent busy")
    assert bar.count() == 1
    assert seen.console == []


def test_what_is_wrong_is_said(visit: Any, site: FakeSite) -> None:
    site.frontend.state = msgspec.structs.replace(
        site.frontend.state, error="no room for bert on gpulet 5"
    )
    site.frontend.tick()
    seen = visit()
    seen.shows("#problem-list", "no room for bert on gpulet 5")
    site.frontend.silent = frozenset({"device0"})
    seen.shows("#device-list", "not heard")


def test_a_name_is_text_and_nothing_else(visit: Any, site: FakeSite) -> None:
    site.frontend.control.rows = [
        {"round": 1, "ago_s": 1.0, "errors": [], "reorganises": False,
         "text": "<img src=x onerror=console.log('ran')>"},
    ]  # fmt: skip
    seen = visit()
    seen.shows("#change-list", "<img src=x")
    assert seen.console == []


def test_without_the_token_nothing_can_be_changed(visit: Any, site: FakeSite) -> None:
    seen = visit()
    assert seen.page.get_by_role("button", name="Load lenet").count() == 0
    assert site.loads.asked == []


def test_who_has_the_token_loads_a_model(visit: Any, site: FakeSite) -> None:
    seen = visit()
    page = seen.page
    page.get_by_role("button", name="Unlock changes").click()
    page.get_by_label("Token").fill("s3cret")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Load lenet").click()
    page.get_by_role("button", name="Load", exact=True).and_(page.locator("#confirm-ok")).click()
    page.wait_for_function("!document.querySelector('dialog[open]')")
    for _ in range(600):
        if site.loads.asked:
            break
        page.wait_for_timeout(100)
    assert site.loads.asked == [("load", "lenet")]
    page.get_by_role("button", name="Lock changes").click()
    page.get_by_role("button", name="Load lenet").wait_for(state="hidden")
    assert seen.console == []


def test_what_fails_is_told_and_the_wrong_token_is_forgotten(visit: Any, site: FakeSite) -> None:
    seen = visit()
    page = seen.page

    def load_with(token: str) -> None:
        page.get_by_role("button", name="Unlock changes").click()
        page.get_by_label("Token").fill(token)
        page.keyboard.press("Enter")
        page.get_by_role("button", name="Load lenet").click()
        page.locator("#confirm-ok").click()

    load_with("wrong")
    page.get_by_role("alert").filter(has_text="wrong or no token").wait_for()
    assert site.loads.asked == []
    site.loads.error = UnavailableError("there is no room for it")
    load_with("s3cret")
    page.get_by_role("alert").filter(has_text="there is no room for it").wait_for()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_in_one_direction_only(visit: Any, scheme: str) -> None:
    page = visit(viewport={"width": 360, "height": 740}, color_scheme=scheme).page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_colours_are_the_systems_until_somebody_chooses(visit: Any) -> None:
    page = visit(color_scheme="dark").page
    back = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(back)
    button = page.get_by_role("button", name="Colours")
    button.click()
    light = page.evaluate(back)
    assert light != dark
    page.reload()
    assert page.evaluate(back) == light
    button.click()
    assert page.evaluate(back) == dark


def test_a_frontend_that_goes_away_is_noticed_and_found_again(visit: Any, site: FakeSite) -> None:
    seen = visit()
    page = seen.page
    page.route("**/glet/state.json*", lambda route: route.abort())
    seen.shows("#notice", "glet has not been reached")
    page.unroute("**/glet/state.json*")
    page.locator("#notice").wait_for(state="hidden")
    seen.shows("#status", "Serving nothing")

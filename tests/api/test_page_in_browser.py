"""The page about an image as a person sees it: in Chromium, behind the fence that the API puts around it."""

import shutil
from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import Page, Route, sync_playwright

from api.html import page_answer
from settlement.audit.image_page import full_page, write_page
from tests.settlement.audit.test_image_page import method, recorded, redrawn

__all__ = ["method", "recorded"]

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
ADDRESS = "http://portal.test/page"


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"],
        )
        page = chromium.new_page(viewport={"width": 1000, "height": 900})
        yield page
        chromium.close()


def show(browser: Page, document: str) -> list[str]:
    """Open a page as the API answers it; returns what the browser complained of or asked the network for."""
    app = FastAPI()
    app.get("/page")(lambda: page_answer(document))
    answer = TestClient(app).get("/page")
    complaints: list[str] = []

    def fulfil(route: Route) -> None:
        if route.request.url == ADDRESS:
            route.fulfill(status=200, headers=dict(answer.headers), body=answer.content)
        else:
            complaints.append(f"asked for {route.request.url}")
            route.abort()

    browser.unroute_all()
    browser.route("**/*", fulfil)
    browser.on("console", lambda message: complaints.append(message.text))
    browser.on("dialog", lambda dialog: complaints.append(f"dialog {dialog.message}"))
    browser.goto(ADDRESS)
    return complaints


def test_pictures_are_drawn_and_hostile_words_are_only_words(browser: Page, recorded) -> None:
    assert show(browser, write_page(full_page(recorded, redrawn(recorded)))) == []
    pictures = browser.locator("img")
    assert pictures.count() == 5
    for place in range(5):
        # What the fence does not let through, or what is no picture, has no size.
        assert pictures.nth(place).evaluate("image => image.complete && image.naturalWidth") == 64
    text = browser.locator("body").inner_text()
    assert '<script>alert("1")</script>' in text and "60.00 %" in text
    assert browser.locator("script").count() == 0
    # Nothing hangs out of the page to the right, on a telephone either.
    for width in (1000, 380):
        browser.set_viewport_size({"width": width, "height": 900})
        assert browser.evaluate("document.documentElement.scrollWidth") <= width


def test_the_fence_holds_what_a_page_should_never_have(browser: Page) -> None:
    complaints = show(
        browser,
        "<p>before</p><img src='https://elsewhere.test/pixel.png'><script>document.body.textContent = 'taken'</script>",
    )
    assert browser.locator("p").inner_text() == "before"
    assert not [one for one in complaints if one.startswith("asked for")] and len(complaints) >= 2

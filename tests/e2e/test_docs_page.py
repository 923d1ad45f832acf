"""The page at /docs, in a real browser: log in there, and run a request."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.e2e.server import Server
from tests.support import OPERATOR_EMAIL, OPERATOR_PASSWORD

SECONDS = 30
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--window-size=1200,2000"),
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """Chromium, where the machine has one; CI must have it (REQUIRE_ALL_TOOLS)."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        if os.environ.get("REQUIRE_ALL_TOOLS"):
            pytest.fail("no chromium or chromedriver is installed")
        pytest.skip("no chromium and chromedriver on this machine")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def find(browser: webdriver.Chrome, css: str) -> WebElement:
    """The element, when it is there to be seen."""

    def visible(_: webdriver.Chrome) -> WebElement | None:
        found = browser.find_elements(By.CSS_SELECTOR, css)
        return next((element for element in found if element.is_displayed()), None)

    element = WebDriverWait(browser, SECONDS).until(visible, f"{css} did not appear")
    assert element is not None
    return element


def click(browser: webdriver.Chrome, css: str) -> None:
    browser.execute_script("arguments[0].click()", find(browser, css))


def write(browser: webdriver.Chrome, css: str, text: str) -> None:
    """Put text into a field, as a person who replaces what is there."""
    field = find(browser, css)
    field.click()
    browser.execute_script("arguments[0].select && arguments[0].select()", field)
    field.send_keys(text)


def test_a_person_logs_in_on_the_page_and_runs_a_request(
    served: Server, browser: webdriver.Chrome
) -> None:
    browser.get(f"{served.url}/docs")
    login = "#operations-Sessions-login"
    click(browser, f"{login} .opblock-summary-control")
    example = find(browser, f"{login} textarea").get_attribute("value") or ""
    assert "ann@acme.example" in example, "the example stands in the form"
    body = f'{{"email": "{OPERATOR_EMAIL}", "password": "{OPERATOR_PASSWORD}"}}'
    write(browser, f"{login} textarea", body)
    click(browser, f"{login} button.execute")
    answer = find(browser, f"{login} .live-responses-table .highlight-code").text
    assert "Logged In Successfully" in answer
    token = answer.split('"accessToken": "')[1].split('"')[0]

    click(browser, "button.authorize")
    write(browser, ".auth-container input[aria-label='auth-bearer-value']", token)
    click(browser, ".auth-container button.authorize")
    click(browser, ".auth-container button.btn-done")

    me = "#operations-Users-me"
    click(browser, f"{me} .opblock-summary-control")
    click(browser, f"{me} button.execute")
    assert OPERATOR_EMAIL in find(browser, f"{me} .live-responses-table .highlight-code").text

    logs: Any = browser
    errors = [entry for entry in logs.get_log("browser") if entry["level"] == "SEVERE"]
    assert errors == []
    asked = [entry["message"] for entry in logs.get_log("performance")]
    sent = [message for message in asked if '"Network.requestWillBeSent"' in message]
    assert sent
    elsewhere = [m for m in sent if '"url":"http' in m and f'"url":"{served.url}' not in m]
    assert elsewhere == [], "the page asked another host for something"

"""A headless Chromium that looks at a page as a reader would, and keeps note of what goes wrong in it."""

import os
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

PATIENCE_S = 60
"""Only how long a failing test waits: every condition is met as soon as the page is ready."""


def find_browser() -> tuple[str, str]:
    """Paths of Chromium and its driver; without them the test is skipped, or fails where ``CI`` is set."""
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for found in map(shutil.which, names) if found), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        reason = "no Chromium with its driver (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return browser, driver


class Browser:
    """One window; :meth:`open` loads a file from disk."""

    def __init__(self, profile: Path):
        browser, driver = find_browser()
        options = Options()
        options.binary_location = browser
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
            options.add_argument(flag)
        options.add_argument(f"--user-data-dir={profile}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(executable_path=driver))

    def close(self) -> None:
        self.driver.quit()

    def open(self, page: Path, *, width: int = 1200, height: int = 900, scheme: str = "light") -> None:
        """Show a page in a window of this size and wait until its first player runs."""
        self.resize(width, height)
        self.media(scheme)
        self.driver.get_log("browser")
        self.driver.get_log("performance")
        self.driver.get(page.as_uri())
        self.wait("return document.querySelector('.player')?.dataset.state === 'ready'")

    def resize(self, width: int, height: int) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def media(self, scheme: str = "light", medium: str = "") -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": features})

    def run(self, script: str, *arguments: object):
        """The value that JavaScript returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: str) -> None:
        """Until JavaScript returns something true."""
        WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.05).until(
            lambda driver: driver.execute_script(condition)
        )

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element("css selector", selector)

    def text(self, selector: str) -> str:
        return self.run("return document.querySelector(arguments[0]).textContent", selector)

    def press(self, *keys: str) -> None:
        """Keys for what has the focus."""
        actions = ActionChains(self.driver)
        for key in keys:
            actions.send_keys(key)
        actions.perform()

    def click_at(self, element: WebElement, across: float, down: float) -> None:
        """A click at a fraction of the width and height of an element."""
        self.run("arguments[0].scrollIntoView({block: 'center'})", element)
        box = element.rect
        x, y = (across - 0.5) * box["width"], (down - 0.5) * box["height"]
        ActionChains(self.driver).move_to_element_with_offset(element, round(x), round(y)).click().perform()

    def complaints(self) -> list[str]:
        """What stands in the console."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Addresses that were asked for since the page was opened: neither those that stand in the page nor those of
        the browser's own windows."""
        marker = '"method":"Network.requestWillBeSent"'
        entries = [entry["message"] for entry in self.driver.get_log("performance") if marker in entry["message"]]
        addresses = [entry.split('"request":')[1].split('"url":"')[1].split('"')[0] for entry in entries]
        return [address for address in addresses if not address.startswith(("data:", "chrome:"))]

    def screenshot(self, path: Path) -> None:
        """The whole page as a picture."""
        import base64

        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        path.write_bytes(base64.b64decode(shot["data"]))

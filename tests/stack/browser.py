"""Headless Chromium, driven through chromedriver's own HTTP interface (W3C WebDriver)."""

from __future__ import annotations

import base64
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"


class Browser:
    """One browser session. Elements are found by CSS selector, and waited for."""

    def __init__(self, session: httpx.Client) -> None:
        self._session = session

    def open(self, url: str) -> None:
        self._call("POST", "/url", {"url": url})

    @property
    def text(self) -> str:
        """All text that a person sees on the page."""
        return str(self.run("return document.body.innerText"))

    @property
    def url(self) -> str:
        return str(self._call("GET", "/url"))

    def run(self, script: str) -> object:
        return self._call("POST", "/execute/sync", {"script": script, "args": []})

    def type_into(self, selector: str, text: str) -> None:
        self._patiently(lambda: self._call("POST", f"/element/{self._found(selector)}/value", {"text": text}))

    def click(self, selector: str) -> None:
        self._patiently(lambda: self._call("POST", f"/element/{self._found(selector)}/click", {}))

    def find(self, selector: str) -> None:
        """Wait until the element is there."""
        self._patiently(lambda: self._found(selector))

    def wait_for(self, *texts: str, timeout_s: float = 60) -> str:
        """Wait until all texts are on the page, and return its text."""
        end = time.monotonic() + timeout_s
        while not all(text in self.text for text in texts):
            if time.monotonic() > end:
                pytest.fail(f"{texts} did not all appear on {self.url}; it says: {self.text[:2000]}")
            time.sleep(0.5)
        return self.text

    def look(self, *, width: int, height: int, dark: bool) -> None:
        """See pages from now on as on a screen of that size, in light or dark."""
        screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        for command, given in (("setDeviceMetricsOverride", screen), ("setEmulatedMedia", {"features": media})):
            self._call("POST", "/goog/cdp/execute", {"cmd": f"Emulation.{command}", "params": given})

    def picture(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(str(self._call("GET", "/screenshot"))))

    def _found(self, selector: str) -> str:
        found: Any = self._call("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def _patiently(self, attempt: Callable[[], object], timeout_s: float = 30) -> None:
        """Try until it is done: a page that draws itself anew puts another element in the place of the one found."""
        end = time.monotonic() + timeout_s
        while True:
            try:
                attempt()
            except LookupError as error:
                if time.monotonic() > end:
                    pytest.fail(f"{error} on {self.url}, which says: {self.text[:2000]}")
                time.sleep(0.5)
            else:
                return

    def _call(self, method: str, path: str, body: dict[str, object] | None = None) -> object:
        answer = self._session.request(method, path, json=body).json()["value"]
        if isinstance(answer, dict) and "error" in answer:
            raise LookupError(f"{answer['error']}: {answer['message']}")
        return answer


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Start a browser that takes the platform's own certificate, and end it."""
    driver, program = shutil.which("chromedriver"), shutil.which("chromium")
    if driver is None or program is None:
        pytest.fail("these tests drive Chromium: apt-get install chromium chromium-driver")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--headless=new", "--window-size=1600,1200", f"--user-data-dir={profile}", "--disable-dev-shm-usage"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium refuses to start its sandbox as root
    wanted = {"acceptInsecureCerts": True, "goog:chromeOptions": {"binary": program, "args": flags}}
    process = subprocess.Popen([driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
            for _ in range(100):
                try:
                    if client.get("/status").json()["value"]["ready"]:
                        break
                except httpx.HTTPError:
                    time.sleep(0.1)
            answer = client.post("/session", json={"capabilities": {"alwaysMatch": wanted}}).json()["value"]
            assert "sessionId" in answer, answer
            session = f"http://127.0.0.1:{port}/session/{answer['sessionId']}"
            client.base_url = httpx.URL(session)
            try:
                yield Browser(client)
            finally:
                # The whole address: a path would be put behind the base's, and the browser would outlive its driver.
                assert client.delete(session).status_code == 200
    finally:
        process.terminate()
        process.wait(10)

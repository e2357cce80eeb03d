"""A headless Chromium driven through its debugging pipe, which needs no port and no further package."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--force-color-profile=srgb", "--remote-debugging-pipe",
)  # fmt: skip
PATIENCE = 60.0


def has_chromium() -> bool:
    """Whether a Chromium is on PATH."""
    return any(shutil.which(name) for name in NAMES)


def find_chromium() -> str:
    """The browser's program; AssertionError says how to get one."""
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    raise AssertionError("the page tests need Chromium on PATH; install it (on Debian: apt-get install chromium)")


class Browser:
    """A running browser. Commands and events travel as JSON, each ended by a zero byte."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._rest = b""
        self._last = 0
        self.events: list[dict[str, Any]] = []

    def command(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """The result of one command of the DevTools protocol."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        content = json.dumps(message).encode() + b"\0"
        while content:
            content = content[os.write(self._to, content) :]
        while True:
            answer = self._next(method)
            if answer.get("id") == self._last:
                assert "error" not in answer, f"{method}: {answer.get('error')}"
                return dict(answer["result"])
            self.events.append(answer)

    def wait_for(self, event: str, session: str) -> dict[str, Any]:
        """The first event of that name from now on or already met."""
        place = 0
        while True:
            for message in self.events[place:]:
                if message.get("method") == event and message.get("sessionId") == session:
                    return dict(message["params"])
            place = len(self.events)
            self.events.append(self._next(event))

    def _next(self, wanted: str) -> dict[str, Any]:
        deadline = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"the browser did not answer to {wanted} within {PATIENCE:g} s"
            content = os.read(self._from, 1 << 20)
            assert content, f"the browser ended before it answered to {wanted}"
            self._rest += content
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))

    def open(self, path: Path | str, *, width: int = 1280, height: int = 900, dark: bool = False) -> Page:
        """A local file or an address in a tab of its own, loaded to its end."""
        target = self.command("Target.createTarget", url="about:blank")["targetId"]
        session = str(self.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable", session)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.command("Emulation.setEmulatedMedia", session, features=scheme)
        page.resize(width, height)
        self.command("Page.navigate", session, url=path if isinstance(path, str) else path.resolve().as_uri())
        self.wait_for("Page.loadEventFired", session)
        return page


@dataclass
class Page:
    """A loaded page."""

    browser: Browser
    session: str
    _size: tuple[int, int] = field(default=(0, 0))

    def resize(self, width: int, height: int) -> None:
        """Give the page another width and height in CSS pixels, as on a phone where narrow."""
        self._size = (width, height)
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.browser.command("Emulation.setDeviceMetricsOverride", self.session, **metrics)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        answer = self.browser.command(
            "Runtime.evaluate", self.session, expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer.get("exceptionDetails")
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key, such as Enter, Tab, ArrowRight or a letter."""
        code = {"Enter": 13, "Tab": 9, "ArrowLeft": 37, "ArrowRight": 39}.get(key) or ord(key.upper())
        text = {"Enter": "\r"}.get(key, key if len(key) == 1 else "")
        for kind, typed in (("keyDown", text), ("keyUp", "")):
            event = {"type": kind, "key": key, "text": typed, "windowsVirtualKeyCode": code}
            self.browser.command("Input.dispatchKeyEvent", self.session, **event)

    def requests(self) -> list[str]:
        """Every address that the page asked for."""
        return [str(event["request"]["url"]) for event in self._events("Network.requestWillBeSent")]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, and uncaught exceptions."""
        logged = [e["entry"]["text"] for e in self._events("Log.entryAdded") if e["entry"]["level"] != "verbose"]
        called = [e["args"] for e in self._events("Runtime.consoleAPICalled") if e["type"] in ("error", "warning")]
        thrown = [e["exceptionDetails"]["text"] for e in self._events("Runtime.exceptionThrown")]
        return [str(message) for message in (*logged, *called, *thrown)]

    def screenshot(self, path: Path, whole: bool = True) -> None:
        """A PNG of the page, its whole length unless told otherwise."""
        width, height = self._size
        if whole:
            height = int(self.evaluate("document.documentElement.scrollHeight"))
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        answer = self.browser.command(
            "Page.captureScreenshot", self.session, format="png", clip=clip, captureBeyondViewport=True
        )
        path.write_bytes(base64.b64decode(answer["data"]))

    def _events(self, name: str) -> Sequence[dict[str, Any]]:
        return [
            e["params"] for e in self.browser.events if e.get("method") == name and e.get("sessionId") == self.session
        ]


@contextmanager
def running_browser(profile: Path) -> Iterator[Browser]:
    """A headless browser with a new profile, ended with the block."""
    program = find_chromium()
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    # The browser reads commands from descriptor 3 and answers on 4.
    script = f'exec "$0" "$@" 3<&{to_read} 4>&{from_write}'
    process = subprocess.Popen(
        ["/bin/bash", "-c", script, program, *FLAGS, f"--user-data-dir={profile}"],
        pass_fds=(to_read, from_write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_read)
    os.close(from_write)
    browser = Browser(to_write, from_read)
    try:
        yield browser
    finally:
        if process.poll() is None:
            try:
                browser.command("Browser.close")
                process.wait(10)
            except (AssertionError, OSError, subprocess.TimeoutExpired):
                process.kill()
                process.wait()
        os.close(to_write)
        os.close(from_read)

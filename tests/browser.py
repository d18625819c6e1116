"""A real browser for tests: Chromium without a window, driven through its DevTools protocol over a pipe."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import debian

NAMES = ("chromium", "chromium-browser", "google-chrome")
SECONDS = 60  # for an answer of the browser
KEYS = {
    "ArrowLeft": 37,
    "ArrowRight": 39,
    "Home": 36,
    "End": 35,
    "ArrowUp": 38,
    "ArrowDown": 40,
    "Tab": 9,
    "m": 77,
    "n": 78,
    "p": 80,
    "r": 82,
}
SHIFT = 8


def problem() -> str | None:
    """Why there is no browser on this machine, in one line, after an attempt to install one; None if there is."""
    if _program():
        return None
    said = debian.install("chromium")
    return None if _program() else f"no {', '.join(NAMES)} here, and apt-get could not install chromium: {said}"


def _program() -> str | None:
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """A running browser with one page, as a context manager.

    `asked` lists the address of everything that the page has fetched, `complaints` all
    errors and warnings that it has printed, since the last `open`. The network is off.
    """

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self._numbers = itertools.count(1)
        self._buffer = b""

    def __enter__(self) -> Browser:
        self._home = tempfile.TemporaryDirectory(prefix="progsem-browser-", ignore_cleanup_errors=True)
        (commands, self._to), (self._from, answers) = os.pipe(), os.pipe()
        flags = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --hide-scrollbars --no-first-run"
        # The browser reads commands from descriptor 3 and answers on 4.
        self._process = subprocess.Popen(
            ["bash", "-c", f'exec "$0" "$@" 3<&{commands} 4>&{answers}', _program(), *flags.split()]
            + ["--remote-debugging-pipe", f"--user-data-dir={self._home.name}", "about:blank"],
            pass_fds=(commands, answers),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        page = self._ask("Target.createTarget", session=None, url="about:blank")["targetId"]
        self._session = self._ask("Target.attachToTarget", session=None, targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._ask(f"{domain}.enable")
        self._ask("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(OSError):
            self._ask("Browser.close", session=None)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._home.cleanup()

    def open(self, place: Path | str, fragment: str = "") -> None:
        """Open a file or an address, and wait until it is loaded."""
        address = place.absolute().as_uri() if isinstance(place, Path) else place
        self._ask("Page.navigate", url="about:blank")
        self.asked.clear()
        self.complaints.clear()
        self._ask("Page.navigate", url=address + fragment)
        self.wait("document.readyState === 'complete' && location.protocol !== 'about:'")

    def size(self, width: int, height: int, dark: bool = False) -> None:
        """Show the page as on a screen of so many CSS pixels; `dark`: to somebody who prefers that."""
        self._ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        self._ask(
            "Emulation.setEmulatedMedia",
            features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}],
        )

    def run(self, script: str):
        """The value of a JavaScript expression on the page, as JSON has it."""
        return self._evaluate(script)

    def run_inside(self, script: str):
        """The same in the page's one frame, of which the expression sees the elements, but no variables."""
        until = time.monotonic() + SECONDS
        while True:
            (frame,) = self._ask("Page.getFrameTree")["frameTree"]["childFrames"]
            context = self._ask("Page.createIsolatedWorld", frameId=frame["frame"]["id"])["executionContextId"]
            try:
                return self._evaluate(script, contextId=context)
            except AssertionError as error:  # the frame may go on to another page between the two
                if "Cannot find context" not in str(error) or time.monotonic() > until:
                    raise

    def _evaluate(self, script: str, **where):
        answer = self._ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True, **where)
        if "exceptionDetails" in answer:
            raise AssertionError(f"{script}: {answer['exceptionDetails']['exception'].get('description')}")
        return answer["result"].get("value")

    def wait(self, condition: str, inside: bool = False) -> None:
        """Wait until a JavaScript expression is true, on the page or inside its frame."""
        until = time.monotonic() + SECONDS
        while not (self.run_inside if inside else self.run)(condition):
            assert time.monotonic() < until, f"never true: {condition}"
            time.sleep(0.02)

    def press(self, key: str, shift: bool = False) -> None:
        """Press a key, as a person would, wherever the focus is."""
        about = {"key": key, "windowsVirtualKeyCode": KEYS[key], "modifiers": SHIFT if shift else 0}
        self._ask("Input.dispatchKeyEvent", type="rawKeyDown", **about)
        self._ask("Input.dispatchKeyEvent", type="keyUp", **about)

    def click(self, selector: str) -> None:
        """Click with the mouse in the middle of an element."""
        x, y = self.run(
            "(one => { one.scrollIntoView({block: 'center'}); const box = one.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self._ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def screenshot(self, path: Path) -> None:
        """Write what is to be seen as a PNG file."""
        path.write_bytes(base64.b64decode(self._ask("Page.captureScreenshot", format="png")["data"]))

    def _ask(self, method: str, session: str | None = "page", **parameters) -> dict:
        """Send a command and return its result; what the page reports meanwhile is noted."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def _receive(self) -> dict:
        until = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, *_ = select.select([self._from], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"the browser has not answered for {SECONDS} s"
            more = os.read(self._from, 1 << 20)
            if not more:
                raise OSError("the browser has ended")
            self._buffer += more
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event: dict) -> None:
        about = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.asked.append(about["request"]["url"])
            case "Runtime.exceptionThrown":
                self.complaints.append(str(about["exceptionDetails"].get("exception", {}).get("description")))
            case "Runtime.consoleAPICalled" if about["type"] in ("error", "warning", "assert"):
                self.complaints.append(str([one.get("value") for one in about["args"]]))
            case "Log.entryAdded" if about["entry"]["level"] in ("error", "warning"):
                self.complaints.append(about["entry"]["text"])

"""A real Chromium, driven over the DevTools protocol through a pair of pipes: no driver and no other package needed.

The protocol: https://chromedevtools.github.io/devtools-protocol, messages of JSON, each ended by a zero byte.
"""

from __future__ import annotations

import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
#: The bits by which the protocol names what is held down.
ALT, CTRL, META, SHIFT = 1, 2, 4, 8
#: Becomes the browser, which finds its pipes where it looks for them.
_EXECUTE = "import os, sys; a = sys.argv; os.dup2(int(a[1]), 3); os.dup2(int(a[2]), 4); os.execv(a[3], a[3:])"
_TEXTS = {"Enter": "\r", " ": " "}


def find_chromium() -> str | None:
    """Return the program, or None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Chromium:
    """A browser of its own, with an empty profile in ``home``."""

    def __init__(self, program: str, home: Path) -> None:
        commands, answers = os.pipe(), os.pipe()
        # Out of the way of 3 and 4, which the browser reads and writes.
        its = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 20) for descriptor in (commands[0], answers[1])]
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={home}"]
        line = [sys.executable, "-ISc", _EXECUTE, *map(str, its), program, *flags, "about:blank"]
        self._process = subprocess.Popen(line, pass_fds=its, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for descriptor in (commands[0], answers[1], *its):
            os.close(descriptor)
        self._out, self._in = commands[1], answers[0]
        self._kept = b""
        self._numbers = itertools.count(1)
        self.dialogs: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **values: Any) -> dict[str, Any]:
        """Return what the browser answers to one command; RuntimeError where it refuses."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": values}
        os.write(self._out, json.dumps({**message, **({"sessionId": session} if session else {})}).encode() + b"\0")
        while (answer := self._receive()).get("id") != number:
            if answer.get("method") == "Page.javascriptDialogOpening":
                self.dialogs.append(answer["params"])
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._kept:
            if not select.select([self._in], [], [], 30)[0] or not (block := os.read(self._in, 2**16)):
                raise TimeoutError("the browser does not answer")
            self._kept += block
        message, _, self._kept = self._kept.partition(b"\0")
        return json.loads(message)

    def open(self, address: str) -> Tab:
        """Return a tab on ``address``."""
        target = self.ask("Target.createTarget", url=address)["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, target, session)
        self.ask("Page.enable", session)
        # Each tab believes that it is the one in front, as in two windows side by side.
        self.ask("Emulation.setFocusEmulationEnabled", session, enabled=True)
        self.ask(
            "Emulation.setDeviceMetricsOverride", session, width=1280, height=800, deviceScaleFactor=1, mobile=False
        )
        return tab

    def close(self) -> None:
        """End the browser."""
        try:
            self.ask("Browser.close")
        except (OSError, TimeoutError, RuntimeError):
            self._process.kill()
        self._process.wait(20)
        os.close(self._out)
        os.close(self._in)


class Tab:
    """One page of the browser."""

    def __init__(self, browser: Chromium, target: str, session: str) -> None:
        self.browser = browser
        self._target, self._session = target, session

    def size(self, width: int, height: int) -> None:
        """Show the page in a window of so many pixels, as a phone does where it is narrow."""
        values = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self.browser.ask("Emulation.setDeviceMetricsOverride", self._session, **values)

    def run(self, script: str) -> Any:
        """Return the value of a JavaScript expression, awaited where it is a promise."""
        values = {"expression": script, "returnByValue": True, "awaitPromise": True}
        answer = self.browser.ask("Runtime.evaluate", self._session, **values)
        if "exceptionDetails" in answer:
            raise RuntimeError(str(answer["exceptionDetails"]))
        return answer["result"].get("value")

    def wait(self, script: str, seconds: float = 10.0) -> Any:
        """Return the value of ``script`` once it is true; TimeoutError where it never is."""
        end, why = time.monotonic() + seconds, ""
        while True:
            try:
                if value := self.run(script):
                    return value
            except RuntimeError as fault:  # the page is not there yet
                why = str(fault)
            if time.monotonic() > end:
                raise TimeoutError(f"{script} {why}")
            time.sleep(0.02)

    def press(self, key: str, code: str = "", held: int = 0, repeat: bool = False, up: bool = True) -> None:
        """Press a key: ``key`` is the sign it gives, ``code`` its place, ``held`` the bits of what is held with it."""
        text = _TEXTS.get(key, key if len(key) == 1 and not held & (CTRL | META | ALT) else "")
        if len(key) == 1:
            code = code or (f"Digit{key}" if key.isdigit() else f"Key{key.upper()}")
        code = code or key
        virtual = {"Enter": 13, "Tab": 9, "Escape": 27}.get(key, 0)
        values = {"key": key, "code": code, "modifiers": held, "windowsVirtualKeyCode": virtual}
        kind = "keyDown" if text else "rawKeyDown"
        told = {**values, "type": kind, "text": text, "autoRepeat": repeat}
        self.browser.ask("Input.dispatchKeyEvent", self._session, **told)
        if up:
            self.browser.ask("Input.dispatchKeyEvent", self._session, **values, type="keyUp")

    def hold(self, key: str, times: int = 40, code: str = "", pause: float = 0.033) -> None:
        """Hold a key down for as long as it repeats ``times`` times, thirty a second."""
        for number in range(times):
            self.press(key, code, repeat=number > 0, up=number == times - 1)
            time.sleep(pause)

    def click(self, selector: str, times: int = 1) -> None:
        """Click the middle of an element."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{found}.scrollIntoView({{block: 'nearest'}})")
        box = self.run(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({found}.getBoundingClientRect())"
        )
        where = {"x": box[0], "y": box[1], "button": "left"}
        for count in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.browser.ask("Input.dispatchMouseEvent", self._session, **where, type=kind, clickCount=count)

    def write(self, text: str) -> None:
        """Type ``text`` into the field that has the focus."""
        for sign in text:
            self.press(sign)

    def status(self) -> str:
        """Return what the page said last."""
        return self.run("document.querySelector('#status')?.textContent ?? ''")

    def alert(self) -> str:
        """Return what the page complains of, "" where it does not."""
        return self.run(
            "(() => { const a = document.querySelector('#alert'); return !a || a.hidden ? '' : a.innerText; })()"
        )

    def settle(self) -> None:
        """Return when everything that was asked of the page is done."""
        self.wait("page.queue.then(() => page.pending.length === 0 && page.state !== null)")

    def reload(self) -> None:
        """Load the page anew."""
        self.browser.ask("Page.reload", self._session)

    def close(self) -> None:
        """Close the tab."""
        self.browser.ask("Target.closeTarget", targetId=self._target)

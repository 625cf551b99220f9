"""Firefox without a driver: the browser itself speaks WebDriver BiDi, JSON over a WebSocket."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

from websocket import WebSocket, create_connection

QUIET = """
user_pref("app.update.auto", false);
user_pref("browser.shell.checkDefaultBrowser", false);
user_pref("datareporting.policy.dataSubmissionEnabled", false);
user_pref("network.captive-portal-service.enabled", false);
user_pref("network.connectivity-service.enabled", false);
user_pref("services.settings.server", "data:,");
user_pref("toolkit.telemetry.reportingpolicy.firstRun", false);
"""


def found() -> str | None:
    """Where the system's Firefox is."""
    return next((path for name in ("firefox-esr", "firefox") if (path := shutil.which(name))), None)


class Firefox:
    """A Firefox with one page, for the time of a `with` block; `messages` are the errors that pages logged."""

    def __init__(self, binary: str, patience: float) -> None:
        self.messages: list[str] = []
        self._folder = tempfile.TemporaryDirectory()
        Path(self._folder.name, "user.js").write_text(QUIET)
        command = [binary, "--headless", "--no-remote", "--profile", self._folder.name, "--remote-debugging-port", "0"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert self._process.stderr
        address = next(
            found[1] for line in self._process.stderr if (found := re.search(r"BiDi listening on (\S+)", line))
        )
        self._socket: WebSocket = create_connection(f"{address}/session", timeout=patience, suppress_origin=True)
        self._sent = 0
        self.ask("session.new", capabilities={})
        self.ask("session.subscribe", events=["log.entryAdded"])
        self._page = self.ask("browsingContext.getTree")["contexts"][0]["context"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.terminate()
        self._process.communicate()
        self._folder.cleanup()

    def ask(self, method: str, **params: Any) -> Any:
        """Send a command and return its result; what pages log meanwhile is noted."""
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("method") == "log.entryAdded" and answer["params"]["level"] in ("error", "warn"):
                self.messages.append(f"{answer['params']['level']}: {answer['params']['text']}")
            if answer.get("id") == self._sent:
                assert answer["type"] == "success", answer
                return answer["result"]

    def look(self, width: int, height: int) -> None:
        """Set the size of the page, in pixels."""
        self.ask("browsingContext.setViewport", context=self._page, viewport={"width": width, "height": height})

    def go(self, url: str) -> None:
        """Load a page, all of it."""
        self.ask("browsingContext.navigate", context=self._page, url=url, wait="complete")

    def evaluate(self, function: str) -> Any:
        """Return what a function of JavaScript returns, or what its promise is kept with."""
        expression = f"Promise.resolve(({function})()).then(JSON.stringify)"
        target = {"context": self._page}
        done = self.ask("script.evaluate", expression=expression, target=target, awaitPromise=True)
        assert done["type"] == "success", done["exceptionDetails"]["text"]
        return json.loads(done["result"].get("value", "null"))

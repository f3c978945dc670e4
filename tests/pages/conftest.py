"""A full report to render, and a browser to open it in."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from patchword.pages.report import (
    Attended,
    Chart,
    ClassRow,
    Coloured,
    Confusion,
    Facts,
    Figure,
    Filters,
    Mistake,
    Report,
    Scenes,
    Series,
    Shown,
)

HOSTILE = "</style></script><script>document.title='owned'</script>\"'><img src=http://x onerror=1>"


def picture(height, width, channels=3, seed=0):
    """Draw something with the statistics of a photograph: smooth forms and a little noise."""
    rng = np.random.default_rng(seed)
    down, across = np.mgrid[:height, :width]
    waves = rng.normal(0, 0.05, (6, channels, 2))
    forms = sum(np.sin(w[:, 0] * down[..., None] + w[:, 1] * across[..., None]) for w in waves)
    return np.clip(128 + 30 * forms + rng.normal(0, 6, forms.shape), 0, 255).astype(np.uint8)


def shown(name, side, score=0.5):
    """Return a picture with its truth and its answer."""
    parts = [picture(side, side, seed=seed) for seed in range(3)]
    return Shown(name=name, score=score, picture=parts[0], truth=parts[1], answer=parts[2])


def report(names=("cat", "dog", HOSTILE), mistakes=2, side=8):
    """Return a report in which every part is present."""
    k = len(names)
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 4, (k, k)) + 20 * np.eye(k, dtype=np.int64)
    maps = rng.random((3, 4, 4))
    return Report(
        title=f"run {names[-1]}",
        subtitle=names[-1],
        headline=(Figure(label="Accuracy", value="96.7 %", note=names[-1]),),
        notes=(f"a note on {names[-1]}",),
        curves=(
            Chart(
                title="Loss",
                x_label="epoch",
                y_label="loss",
                series=(
                    Series(name="training", x=(1, 2, 3, 4), y=(2.0, 1.0, 0.5, 0.25)),
                    Series(name=names[-1], x=(2, 4), y=(1.5, 1.25)),
                ),
            ),
        ),
        confusion=Confusion(names=names, counts=counts),
        per_class=tuple(
            ClassRow(name=name, count=9 * i, recall=1 - i / k, precision=float("nan"))
            for i, name in enumerate(names)
        ),
        classes=40,
        recalls=(
            Chart(
                title="Precision by recall",
                x_label="recall",
                y_label="precision",
                series=(Series(name=names[-1], x=(0.0, 0.5), y=(1.0, 0.5)),),
            ),
        ),
        mistakes=tuple(
            Mistake(
                picture=picture(side, side, seed=i),
                name=f"{names[-1]}/\udcff{i}.png",
                truth=names[0],
                answer=names[-1],
                confidence=0.99,
            )
            for i in range(mistakes)
        ),
        scenes=Scenes(
            score="mIoU",
            reading=names[-1],
            worst=(shown(names[-1], side), shown("b.png", side, score=float("nan"))),
            best=(shown("c.png", side),),
            legend=tuple(Coloured(name=name, colour="#d0a040") for name in names),
        ),
        attention=(Attended(title=names[-1], picture=picture(side, side), maps=maps),),
        filters=Filters(pictures=(picture(4, 4), picture(4, 4, seed=1)), caption=names[-1]),
        positions=rng.uniform(-1, 1, (4, 4, 4, 4)),
        facts=(Facts(title=names[-1], rows=((names[-1], names[-1]),)),),
        config=json.dumps({names[-1]: names[-1]}, indent=2),
    )


SHIM = (
    "import os, sys; os.dup2(int(sys.argv[1]), 3); os.dup2(int(sys.argv[2]), 4);"
    "os.execv(sys.argv[3], sys.argv[3:])"
)
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--no-first-run",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
    "--remote-debugging-pipe",
]


class Browser:
    """Headless Chromium with one page, driven over the pipes of its debugging protocol."""

    def __init__(self, chromium, profile):
        read, self._out = os.pipe()
        self._in, write = os.pipe()
        shim = [sys.executable, "-c", SHIM, str(read), str(write)]
        command = [*shim, chromium, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        self._process = subprocess.Popen(
            command,
            pass_fds=(read, write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read)
        os.close(write)
        self._ids = itertools.count()
        self._buffer = b""
        self._session = None
        self.events = []
        self._timer = threading.Timer(120, self._process.kill)  # no read waits for ever
        self._timer.start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        message = {"id": next(self._ids), "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while (answer := self._message()).get("id") != message["id"]:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, path, width=1280, height=900, theme="light"):
        """Open a file in a window of that many pixels; wait until it has loaded."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        features = [{"name": "prefers-color-scheme", "value": theme}]
        self.call("Emulation.setEmulatedMedia", features=features)
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(e.get("method") == "Page.loadEventFired" for e in self.events):
            self.events.append(self._message())

    def run(self, script):
        """Return the value of a JavaScript expression."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key, code=0, text=""):
        """Press and release one key, as a hand would."""
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=key,
                windowsVirtualKeyCode=code,
                text=text if kind == "keyDown" else "",
            )

    def close(self):
        self._timer.cancel()
        self._process.kill()
        self._process.wait()
        os.close(self._out)
        os.close(self._in)

    def _message(self):
        while b"\0" not in self._buffer:
            data = os.read(self._in, 1 << 16)
            assert data, "the browser has gone"
            self._buffer += data
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        opened = Browser(shutil.which("chromium"), profile)
        yield opened
        opened.close()


@pytest.fixture
def make_report():
    return report


@pytest.fixture
def make_picture():
    return picture


@pytest.fixture
def hostile():
    return HOSTILE

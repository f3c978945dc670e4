"""What the tests of weights share: a hub that is not the Hub."""

import threading
from dataclasses import replace
from http.server import ThreadingHTTPServer

import pytest

import patchword
from patchword.factory import create_model
from tests.weights.foreign import CLASSES, moved
from tests.weights.hub import COMMITS, NAME, PAGE, Handler


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve two versions of a tiny model, with an empty cache."""
    constants = pytest.importorskip("huggingface_hub.constants")
    models = {}
    for i, commit in enumerate(COMMITS.values()):
        model = moved(create_model(NAME, num_classes=len(CLASSES)), seed=i)
        model.card = replace(model.card, classes=CLASSES)
        patchword.save(model, tmp_path / commit)
        models[commit] = model
        held = {f.name: f.read_bytes() for f in (tmp_path / commit).iterdir()}
        Handler.files[commit] = {**held, "README.md": PAGE, "log.txt": b"not needed"}
    Handler.asked.clear()
    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    place = f"http://127.0.0.1:{running.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", place)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    yield models
    running.shutdown()
    running.server_close()

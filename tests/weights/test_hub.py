"""Models on the Hub, beside a small hub of our own: kept copies first, revisions pinned."""

import json
import threading
from dataclasses import replace
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest
import torch

import patchword
from patchword import pretrained
from patchword.errors import ConfigError, WeightsError
from patchword.factory import create_model
from patchword.weights.hub import HubId, hub_id
from tests.weights.foreign import CLASSES, images, moved

constants = pytest.importorskip("huggingface_hub.constants")
COMMITS = {"main": "a" * 40, "old": "b" * 40}
NAME = "vit_mini_patch4_28"


class Handler(BaseHTTPRequestHandler):
    """What the Hub answers about one repository: its commits, its files, their bytes."""

    files: ClassVar[dict[str, dict[str, bytes]]] = {}
    asked: ClassVar[list[str]] = []

    def log_message(self, *given):
        pass

    def answer(self, code, body, **headers):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.asked.append(path)
        root, _, rest = path.removeprefix("/api/models").partition("/org/tiny/")
        kind, _, rest = rest.partition("/")
        revision, _, file = rest.partition("/")
        commit = COMMITS.get(revision, revision)
        held = self.files.get(commit)
        if root or held is None:
            return self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
        if kind == "revision":
            about = {"id": "org/tiny", "sha": commit, "siblings": [{"rfilename": f} for f in held]}
            return self.answer(200, json.dumps(about).encode(), Content_Type="application/json")
        if kind == "tree":
            rows = [
                {"type": "file", "path": f, "size": len(b), "oid": sha256(b).hexdigest()[:40]}
                for f, b in held.items()
            ]
            return self.answer(200, json.dumps(rows).encode(), Content_Type="application/json")
        body = held[file]
        tag = f'"{sha256(body).hexdigest()[:40]}"'
        return self.answer(200, body, ETag=tag, X_Repo_Commit=commit)

    do_HEAD = do_GET


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve two versions of a tiny model, with an empty cache."""
    models = {}
    for i, commit in enumerate(COMMITS.values()):
        model = moved(create_model(NAME, num_classes=len(CLASSES)), seed=i)
        model.card = replace(model.card, classes=CLASSES)
        patchword.save(model, tmp_path / commit)
        models[commit] = model
        held = {f.name: f.read_bytes() for f in (tmp_path / commit).iterdir()}
        Handler.files[commit] = {**held, "README.md": b"not needed"}
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


def same(found, wanted):
    return torch.equal(found(images((28, 28))), wanted(images((28, 28))))


def test_a_model_is_fetched_once_and_its_revision_recorded(server):
    found = patchword.load("hf:org/tiny")
    assert same(found, server[COMMITS["main"]])
    assert found.card.provenance == {"source": "hf:org/tiny", "revision": COMMITS["main"]}
    assert not any("README" in path for path in Handler.asked)
    Handler.asked.clear()
    assert same(patchword.load("hf:org/tiny"), found)
    assert Handler.asked == []  # the kept copy, without a question


def test_a_revision_is_taken_by_its_name_and_by_its_commit(server):
    for revision in ("old", COMMITS["old"]):
        found = patchword.load(f"hf:org/tiny@{revision}")
        assert same(found, server[COMMITS["old"]])
        assert found.card.provenance["revision"] == COMMITS["old"]


def test_what_is_not_there_is_one_line(server, monkeypatch):
    for source in ("hf:org/none", "hf:org/tiny@never"):
        with pytest.raises(WeightsError, match="not kept here, and cannot be fetched") as caught:
            patchword.load(source)
        assert "\n" not in str(caught.value)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match="hf:org/tiny is not kept here") as caught:
        patchword.load("hf:org/tiny")
    assert "\n" not in str(caught.value)


def test_a_repository_without_weights_is_one_line(server):
    del Handler.files[COMMITS["main"]]["model.safetensors"]
    with pytest.raises(WeightsError, match=r"has none of model\.safetensors, pytorch_model\.bin"):
        patchword.load("hf:org/tiny")


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("hf:org/tiny", HubId("org/tiny")),
        ("hf:org/tiny@v1.0", HubId("org/tiny", "v1.0")),
        ("hf-hub:timm/resnet18.a1_in1k", HubId("timm/resnet18.a1_in1k")),
        ("timm/vit_small_patch16_224.augreg_in1k", HubId("timm/vit_small_patch16_224.augreg_in1k")),
        ("runs/photos", None),
        ("hf:tiny", None),
        ("timm:resnet18", None),
    ],
)
def test_an_id_is_told_from_a_path(source, wanted):
    assert hub_id(source) == wanted


@pytest.fixture
def listed(server, monkeypatch):
    (source,) = pretrained.known()["vit_tiny_patch16_224"][:1]
    source = replace(source, source="hf:org/tiny", num_classes=5)
    monkeypatch.setattr(pretrained, "known", lambda: {NAME: (source,)})
    return server[COMMITS["main"]]


def test_a_model_is_made_with_its_default_weights(listed, caplog):
    assert same(patchword.create_model(NAME, pretrained=True).eval(), listed)
    found = patchword.create_model(NAME, pretrained=True, num_classes=2, drop_path_rate=0.1)
    assert found(images((28, 28))).shape == (2, 2)
    assert found.card.config["drop_path_rate"] == 0.1
    assert "new: the head of 2 classes" in caplog.text


def test_a_model_is_made_with_weights_by_name(listed, tmp_path):
    folder = tmp_path / COMMITS["old"]
    found = patchword.create_model(NAME, pretrained=str(folder), in_chans=1)
    assert found(images((28, 28), 1)).shape == (2, len(CLASSES))
    with pytest.raises(ConfigError, match=f"{NAME} has no weights 'in1k'"):
        patchword.create_model(NAME, pretrained="in1k")
    with pytest.raises(ConfigError, match="no weights of vit_mini_patch7_28 are known"):
        patchword.create_model("vit_mini_patch7_28", pretrained=True)
    with pytest.raises(ConfigError, match="say pretrained=True"):
        patchword.create_model(f"{NAME}.augreg_in1k")


def test_known_sources_are_listed():
    rows = patchword.api.models("vit_small_patch16_224", pretrained=True)
    sources = [row["source"] for row in rows]
    assert sources[0] == "hf:timm/vit_small_patch16_224.augreg_in21k_ft_in1k"
    assert "hf:timm/vit_small_patch16_224.dino" in sources
    assert rows[0]["licence"] == "apache-2.0" and rows[0]["mean"] == (0.5, 0.5, 0.5)
    tag = "augreg_in1k"
    assert pretrained.choose("vit_small_patch16_224", tag) == f"hf:timm/vit_small_patch16_224.{tag}"


@pytest.mark.peers
@pytest.mark.slow
def test_known_sources_are_what_the_installed_packages_say(tmp_path, monkeypatch):
    from tests import known_sources

    kept = pretrained.store().read_text()
    monkeypatch.setattr(known_sources, "store", lambda: tmp_path / "sources.json")
    known_sources.main()
    assert (tmp_path / "sources.json").read_text() == kept

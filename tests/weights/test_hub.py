"""Models on the Hub, beside a small hub of our own: kept copies first, revisions pinned."""

from dataclasses import replace

import pytest
import torch

import patchword
from patchword import api, sources
from patchword.errors import ConfigError, WeightsError
from patchword.weights.hub import HubId, hub_id
from tests.weights.foreign import CLASSES, images
from tests.weights.hub import COMMITS, NAME, Handler

constants = pytest.importorskip("huggingface_hub.constants")


def same(found, wanted):
    return torch.equal(found(images((28, 28))), wanted(images((28, 28))))


def test_a_model_is_fetched_once_and_its_revision_recorded(server):
    found = patchword.load("hf:org/tiny")
    assert same(found, server[COMMITS["main"]])
    assert found.card.provenance == {
        "source": "hf:org/tiny",
        "revision": COMMITS["main"],
        "licence": "cc-by-nc-4.0",
        "licence_said": "README.md",
    }
    assert not any("log.txt" in path for path in Handler.asked)
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
    (source,) = sources.known()["vit_tiny_patch16_224"][:1]
    source = replace(source, source="hf:org/tiny", num_classes=5)
    monkeypatch.setattr(sources, "known", lambda: {NAME: (source,)})
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
    rows = api.models("vit_small_patch16_224", pretrained=True)
    names = [row["source"] for row in rows]
    assert names[0] == "hf:timm/vit_small_patch16_224.augreg_in21k_ft_in1k"
    assert "hf:timm/vit_small_patch16_224.dino" in names
    assert rows[0]["licence"] == "apache-2.0" and rows[0]["mean"] == (0.5, 0.5, 0.5)
    tag = "augreg_in1k"
    assert sources.choose("vit_small_patch16_224", tag) == f"hf:timm/vit_small_patch16_224.{tag}"


@pytest.mark.peers
@pytest.mark.slow
def test_known_sources_are_what_the_installed_packages_say(tmp_path, monkeypatch):
    from tests import known_sources

    kept = sources.store().read_text()
    monkeypatch.setattr(known_sources, "store", lambda: tmp_path / "sources.json")
    known_sources.main()
    assert (tmp_path / "sources.json").read_text() == kept

"""What models inherit, handed on from one to the next, beside a small hub of our own."""

import json
from dataclasses import replace

import pytest

import patchword
from patchword import sources
from patchword.cli import main
from patchword.lineage import needed
from patchword.results import Inherited
from tests.training.runs import photos
from tests.weights.hub import COMMITS, NAME, Handler

AT = f"hf:org/tiny@{COMMITS['main'][:12]}"
QUICK = ("--epochs", "1", "--precision", "fp32", "--workers", "0", "--settings", "average=null")


def plain(rows):
    return {
        (r.kind, r.name): (r.licence, r.restricted, r.through) for r in rows if r.kind != "code"
    }


def test_a_model_of_the_hub_keeps_source_revision_and_licence(server, tmp_path, monkeypatch):
    (known,) = sources.known()["vit_tiny_patch16_224"][:1]
    known = replace(known, source="hf:org/tiny", licence="apache-2.0")
    monkeypatch.setattr(sources, "known", lambda: {NAME: (known,)})
    made = patchword.create_model(NAME, pretrained=True, num_classes=3, drop_path_rate=0.1)
    about = made.card.provenance
    assert (about["source"], about["revision"]) == ("hf:org/tiny", COMMITS["main"])
    assert (about["licence"], about["licence_said"]) == ("cc-by-nc-4.0", "README.md")
    for format in ("patchword", "timm"):
        patchword.convert("hf:org/tiny", tmp_path / format, format=format, image_size=32)
    assert patchword.load(tmp_path / "patchword").card.provenance["licence"] == "cc-by-nc-4.0"
    again = patchword.load(tmp_path / "timm").card.provenance
    assert (again["source"], again["licence"]) == (str(tmp_path / "timm"), "cc-by-nc-4.0")


def test_the_list_answers_where_the_model_says_nothing(server, monkeypatch):
    (known,) = sources.known()["vit_tiny_patch16_224"][:1]
    monkeypatch.setattr(
        sources, "known", lambda: {NAME: (replace(known, source="hf:org/tiny", licence="mit"),)}
    )
    del Handler.files[COMMITS["main"]]["README.md"]
    about = patchword.load("hf:org/tiny").card.provenance
    assert (about["licence"], about["licence_said"]) == ("mit", "listed by timm")


def test_what_is_not_known_is_not_guessed(tmp_path, server):
    patchword.convert("hf:org/tiny@old", tmp_path / "timm", format="timm")
    (tmp_path / "timm" / "README.md").unlink()
    folder = str(tmp_path / "timm")
    assert plain(patchword.licences(folder)) == {
        ("weights", folder): (None, False, ""),
        ("data", "what they learnt from"): (None, False, folder),
    }


def test_a_run_from_a_run_inherits_what_that_one_had(server, tmp_path, capsys):
    birds, first, second = (tmp_path / name for name in ("birds", "first", "second"))
    photos(birds, each=2)
    (birds / "LICENSE").write_text("Attribution 4.0 International")
    assert main(["train", str(birds), "--init", "hf:org/tiny", "--out", str(first), *QUICK]) == 0
    assert plain(patchword.licences(first)) == {
        ("data", str(birds)): ("cc-by-4.0", False, ""),
        ("weights", AT): ("cc-by-nc-4.0", True, ""),
        ("data", "what they learnt from"): (None, False, "hf:org/tiny"),
    }
    teacher = ["--teacher", str(first), "--cache", str(tmp_path / "kept"), "--image-size", "28"]
    words = ["train", str(birds), "--model", NAME, *teacher, "--out", str(second), *QUICK]
    assert main(words) == 0
    rows = patchword.licences(second)
    assert plain(rows[:1]) == {("data", str(birds)): ("cc-by-4.0", False, "")}
    assert plain(rows[1:]) == {
        ("data", str(birds)): ("cc-by-4.0", False, str(first)),
        ("weights", AT): ("cc-by-nc-4.0", True, str(first)),
        ("data", "what they learnt from"): (None, False, "hf:org/tiny"),
    }
    (second / "model.safetensors").unlink()  # as a run that is not finished
    assert patchword.licences(second) == rows
    capsys.readouterr()
    assert main(["licences", str(second), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Inherited(**line) for line in lines] == rows
    assert main(["licences", str(second)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert f"weights {AT}" in said[-2] and "learnt from" in said[-1]


def test_patchword_and_all_that_it_needs_are_there():
    found = dict(needed("patchword"))
    assert {"patchword", "torch", "numpy", "sympy", "mpmath"} <= found.keys()
    assert not {"timm", "huggingface-hub", "tifffile"} & found.keys()


@pytest.mark.peers
def test_libraries_say_what_their_weights_are(monkeypatch):
    from patchword import adapters

    assert adapters.terms("torchvision:vit_h_14")[0] == "cc-by-nc-4.0"
    assert adapters.terms("torchvision:resnet50") == (None, "torchvision, of IMAGENET1K_V2")
    timm = pytest.importorskip("timm")
    known = timm.get_pretrained_cfg("convnextv2_tiny.fcmae_ft_in1k")
    assert (
        adapters.terms("timm:convnextv2_tiny.fcmae_ft_in1k")[0] == known.license == "cc-by-nc-4.0"
    )

"""Files of those who pre-train: the encoder is read, what is around it is left aside and said."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import patchword
from patchword import catalogue, models
from patchword.conversion import save
from patchword.errors import ConfigError, WeightsError
from patchword.factory import build, create_model, family
from patchword.weights.files import read
from tests.weights.foreign import images, moved

NAME, CLIP = "vit_tiny_patch16_224", "vit_xsmall_patch16_clip_224"
ONE = torch.ones(1)


def encoder(**changes):
    """Return a small ViT with changed settings, and its backbone's tensors under timm's names."""
    card = create_model(NAME, num_classes=1).card
    model = moved(build(replace(card, config={**card.config, **changes})))
    (timm,) = (f for f in family(NAME).FORMATS if f.name == "timm")
    theirs = timm.save(model.state_dict())
    return model, {n: t for n, t in theirs.items() if not n.startswith("head")}


def under(root, tensors):
    return {f"{root}{name}": tensor for name, tensor in tensors.items()}


def mae(theirs):
    return {"model": {**theirs, "decoder_embed.weight": ONE, "mask_token": ONE}, "epoch": 3}


def moco(theirs):
    around = {
        "base_encoder.head.0.weight": ONE,
        "predictor.0.weight": ONE,
        "momentum_encoder.x": ONE,
    }
    names = {**under("base_encoder.", theirs), **around}
    return {"arch": "vit_small", "state_dict": under("module.", names)}


def dino(theirs):
    around = {"head.mlp.0.weight": ONE, "head.last_layer.weight_v": ONE}
    other = {n: t + 1 for n, t in theirs.items()}
    return {
        "student": under("module.", {**under("backbone.", other), **around}),
        "teacher": {**under("backbone.", theirs), **around},
        "epoch": 3,
    }


@pytest.mark.parametrize(
    ("wrap", "changes", "said"),
    [
        (mae, {}, "dropped: 2 tensors (decoder_embed.weight, mask_token) beside the encoder"),
        (moco, {"num_heads": 12}, "dropped: 3 tensors"),
        (dino, {"resample": "bicubic_offset"}, "dropped: student: other networks in the file"),
    ],
)
def test_an_encoder_is_told_and_read(wrap, changes, said, tmp_path, caplog):
    model, theirs = encoder(**changes)
    torch.save(wrap(theirs), tmp_path / "checkpoint.pth")
    found = patchword.load(tmp_path / "checkpoint.pth", num_classes=3)
    assert found.card.model == NAME and found.card.config == model.card.config
    assert found.card.preprocessing.mean == (0.485, 0.456, 0.406)
    batch = images((224, 224))
    assert torch.equal(found.backbone(batch).pooled, model.backbone(batch).pooled)
    assert found(batch).shape == (2, 3)
    assert said in caplog.text and "new: the head" in caplog.text
    assert any(said in line for line in found.card.provenance["weights"])


def test_another_part_is_read_by_name(tmp_path):
    model, theirs = encoder()
    torch.save(dino(theirs), tmp_path / "c.pth")
    student = patchword.load(tmp_path / "c.pth", part="student").state_dict()
    token = "backbone.stem.prefix.class_token"
    assert torch.equal(student[token], model.state_dict()[token] + 1)
    with pytest.raises(WeightsError, match="holds no part 'studnet'; did you mean 'student'"):
        patchword.load(tmp_path / "c.pth", part="studnet")


def test_what_is_not_known_to_be_beside_an_encoder_is_refused(tmp_path):
    _, theirs = encoder()
    torch.save(mae({**theirs, "surprise": ONE}), tmp_path / "c.pth")
    with pytest.raises(WeightsError, match=r"timm does not know surprise$"):
        patchword.load(tmp_path / "c.pth", model=NAME)


def test_a_fine_tuned_mae_is_read_by_its_mean(tmp_path):
    model, theirs = encoder(pool="mean", norm_pooled=True)
    head = {"head.weight": torch.randn(1, 192), "head.bias": torch.zeros(1)}
    torch.save({"model": {**theirs, **head}}, tmp_path / "c.pth")
    found = patchword.load(tmp_path / "c.pth")
    assert found.card.config == model.card.config and found.card.num_classes == 1
    batch = images((224, 224))
    torch.testing.assert_close(found.backbone(batch).pooled, model.backbone(batch).pooled)


def openai(model):
    (authors,) = (f for f in family(CLIP).FORMATS if f.name == "authors")
    ours = {n: t for n, t in model.state_dict().items() if n != "head.label.bias"}
    text = {"transformer.resblocks.0.ln_1.weight": ONE, "positional_embedding": ONE}
    return {**authors.save(ours), **text, "logit_scale": torch.tensor(1.0)}


def test_clip_s_image_tower_is_read_and_its_gelu_asked_for(tmp_path, caplog, monkeypatch):
    config = replace(models.config(CLIP), act="quick")
    twin, known = "vit_base_patch32_clip_448", catalogue.stored()
    monkeypatch.setitem(family(CLIP).VARIANTS, twin, config)
    monkeypatch.setattr(catalogue, "stored", lambda: {**known, twin: known[CLIP]})
    model = moved(create_model(CLIP, num_classes=512))
    nn.init.zeros_(model.head["label"].bias)
    path = tmp_path / "open_clip_model.safetensors"
    save_file({n: t.half().contiguous() for n, t in openai(model).items()}, path)
    with pytest.raises(ConfigError, match=f"fit {CLIP}, vit_base_patch32_clip_448: say which"):
        patchword.load(path)
    found = patchword.load(path, model=CLIP)
    assert found.card.num_classes == 512 and "dropped: 3 tensors (logit_scale" in caplog.text
    assert "stored as float16, read as float32" in caplog.text
    batch = images((224, 224))
    wanted = model.half().float()(batch)
    assert torch.equal(found(batch), wanted)


@pytest.mark.slow
def test_torchvision_s_vit_is_told_with_its_normalisation(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    theirs = moved(torchvision.models.vit_b_16(num_classes=4))
    torch.save(theirs.state_dict(), tmp_path / "vit_b_16-c867db91.pth")
    found = patchword.load(tmp_path / "vit_b_16-c867db91.pth")
    assert found.card.model == "vit_base_patch16_224" and found.card.num_classes == 4
    assert found.card.preprocessing.std == (0.229, 0.224, 0.225)
    batch = images((224, 224))
    torch.testing.assert_close(found(batch), theirs(batch), rtol=1e-4, atol=1e-4)


def test_torchvision_s_resnet_is_told(tmp_path):
    torchvision = pytest.importorskip("torchvision")
    theirs = moved(torchvision.models.resnet18())
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    found = patchword.load(tmp_path / "resnet18.pth")
    assert found.card.model == "resnet18"
    batch = images((64, 64))
    torch.testing.assert_close(found(batch), theirs(batch), rtol=1e-4, atol=1e-4)


def shards(folder, model):
    """Cut a folder's weights in two, as transformers does large ones."""
    save(model, folder)
    whole = read(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places, names = {}, sorted(whole)
    for i, half in enumerate((names[::2], names[1::2]), 1):
        file = f"model-0000{i}-of-00002.safetensors"
        save_file({name: whole[name] for name in half}, folder / file)
        places |= dict.fromkeys(half, file)
    return places


def index(folder, places):
    text = json.dumps({"weight_map": places})
    (folder / "model.safetensors.index.json").write_text(text)


def test_shards_are_one_model(tmp_path):
    model = moved(create_model("vit_mini_patch4_28", num_classes=3))
    places = shards(tmp_path, model)
    index(tmp_path, places)
    found = patchword.load(tmp_path).state_dict()
    assert all(torch.equal(found[name], tensor) for name, tensor in model.state_dict().items())
    index(tmp_path, {**places, "more": "model-00001-of-00002.safetensors"})
    with pytest.raises(WeightsError, match="differ in 1 tensors, as in more"):
        patchword.load(tmp_path)
    for place in ("../model-00001-of-00002.safetensors", "/etc/passwd", 3, "config.json"):
        index(tmp_path, {**places, "head.label.bias": place})
        with pytest.raises(WeightsError, match="which is no shard beside it"):
            patchword.load(tmp_path)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_broken_numbers_are_counted_and_said(value, tmp_path, caplog):
    model = create_model("vit_mini_patch4_28", num_classes=3)
    with torch.no_grad():
        model.head["label"].bias[1] = value
    save(model, tmp_path)
    patchword.load(tmp_path)
    assert "1 numbers are infinite or NaN, in 1 tensors (head.label.bias)" in caplog.text


def test_whole_numbers_are_no_weights(tmp_path):
    save(create_model("vit_mini_patch4_28", num_classes=3), tmp_path)
    tensors = read(tmp_path / "model.safetensors")
    save_file({n: t.long() for n, t in tensors.items()}, tmp_path / "model.safetensors")
    with pytest.raises(WeightsError, match=r"type that the model does not have: .*\(int64\)"):
        patchword.load(tmp_path)

"""Models travel: from timm and transformers to us, and from us to them, answering alike."""

import argparse
import json
from dataclasses import replace

import pytest
import torch

import patchword
from patchword.conversion import save
from patchword.errors import ConfigError
from patchword.factory import create_model
from tests.weights.foreign import CLASSES, close, images, moved, timm_model, transformers_model

pytestmark = pytest.mark.peers

TIMM = {
    "vit_tiny_patch16_224": {"img_size": 32},
    "deit_tiny_distilled_patch16_224": {"img_size": (32, 64)},
    "vit_small_patch14_reg4_dinov2": {"img_size": 28},
}
KINDS = (
    "ViTForImageClassification",
    "DeiTForImageClassification",
    "DeiTForImageClassificationWithTeacher",
)


@pytest.mark.parametrize("name", TIMM)
def test_what_timm_saves_is_loaded(tmp_path, name):
    from timm.models import save_for_hf

    theirs = timm_model(name, **TIMM[name])
    config = {"label_names": list(CLASSES)}
    save_for_hf(theirs, tmp_path, model_config=config, safe_serialization=True)
    ours = patchword.load(tmp_path)
    size = TIMM[name]["img_size"]
    size = (size, size) if isinstance(size, int) else size
    close(ours(images(size)), theirs(images(size)))
    found = theirs.pretrained_cfg
    assert ours.card.model == name and ours.card.classes == CLASSES and not ours.training
    assert ours.card.preprocessing.image_size == size
    assert ours.card.preprocessing.mean == tuple(found["mean"])
    assert ours.card.preprocessing.std == tuple(found["std"])
    assert ours.card.preprocessing.interpolation == found["interpolation"]


def test_the_authors_registers_are_read_as_timm_reads_them(tmp_path):
    from timm.models.vision_transformer import checkpoint_filter_fn

    name = "vit_small_patch14_reg4_dinov2"
    theirs = moved(patchword.create_model(name, num_classes=5))
    tensors = {
        n.removeprefix("backbone."): t
        for n, t in theirs.state_dict().items()
        if not n.startswith(("head.", "backbone.stem.p"))
    }
    stem = theirs.backbone.stem
    place = torch.randn(1, 1, 384)
    table = torch.cat([place, stem.position.table.detach()], dim=1)
    tensors |= {
        "cls_token": stem.prefix["class_token"].detach() - place,
        "register_tokens": stem.prefix["registers"].detach(),
        "mask_token": torch.randn(1, 384),
        "pos_embed": table,
        **{f"patch_embed.{n}": t for n, t in stem.patch_embed.state_dict().items()},
    }
    torch.save(tensors, tmp_path / "dinov2_vits14_reg4_pretrain.pth")
    ours = patchword.load(tmp_path / "dinov2_vits14_reg4_pretrain.pth", image_size=70)
    assert ours.card.model == name
    peer = timm_model(name, img_size=70)
    peer.reset_classifier(0)
    peer.load_state_dict(checkpoint_filter_fn(tensors, peer))
    batch = images((70, 70))
    with torch.inference_mode():
        close(ours.backbone(batch).pooled, peer(batch))


def test_what_timm_saves_pickled_is_loaded(tmp_path):
    from timm.models import save_for_hf

    theirs = timm_model("vit_tiny_patch16_224", img_size=32)
    save_for_hf(theirs, tmp_path, safe_serialization=False)
    close(patchword.load(tmp_path)(images()), theirs(images()))


@pytest.mark.parametrize("wrapped", ["", "model", "state_dict"])
def test_a_training_script_s_file_is_loaded(tmp_path, wrapped):
    theirs = timm_model("deit_tiny_distilled_patch16_224")
    tensors = theirs.state_dict()
    if wrapped == "state_dict":
        tensors = {f"module.{name}": tensor for name, tensor in tensors.items()}
    around = {"args": argparse.Namespace(lr=1e-3, data_path="imagenet"), "epoch": 299}
    path = tmp_path / "checkpoint.pth"
    torch.save({wrapped: tensors, **around} if wrapped else tensors, path)
    ours = patchword.load(path)  # the shapes say which model it is
    assert ours.card.model == "deit_tiny_distilled_patch16_224"
    close(ours(images((224, 224))), theirs(images((224, 224))))


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_transformers_saves_is_loaded(tmp_path, kind, pickled):
    from transformers import ViTImageProcessor

    theirs = transformers_model(kind)
    theirs.save_pretrained(tmp_path)
    if pickled:  # as older versions wrote it, with names as on disk
        from safetensors.torch import load_file

        torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
        (tmp_path / "model.safetensors").unlink()
    processor = ViTImageProcessor(image_mean=(0.1, 0.2, 0.3), image_std=(0.4, 0.5, 0.6), resample=3)
    processor.save_pretrained(tmp_path)
    ours = patchword.load(tmp_path)
    close(ours(images()), theirs(images()).logits)
    assert ours.card.classes == CLASSES and ours.card.num_classes == len(CLASSES)
    frame = ours.card.preprocessing
    assert (frame.image_size, frame.crop, frame.interpolation) == ((32, 32), 1.0, "bicubic")
    assert (frame.mean, frame.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


def test_the_names_in_transformers_memory_are_loaded(tmp_path):
    theirs = transformers_model("ViTForImageClassification")
    theirs.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(theirs.state_dict(), tmp_path / "pytorch_model.bin")
    close(patchword.load(tmp_path)(images()), theirs(images()).logits)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"model_args": {"img_size": 32, "qk_norm": True}}, "qk_norm"),
        ({"global_pool": "avg"}, "global_pool is 'avg'"),
        ({"architecture": "vit_tiny_patch16_226"}, "did you mean 'vit_tiny_patch16_224'"),
    ],
)
def test_timm_s_other_networks_are_refused(tmp_path, changed, word):
    save(ours_of("vit_tiny_patch16_224", image_size=32), tmp_path, format="timm")
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))
    with pytest.raises(ConfigError, match=word):
        patchword.load(tmp_path)


def test_timm_s_names_by_index_are_read_in_order(tmp_path):
    save(ours_of("vit_tiny_patch16_224", image_size=32), tmp_path, format="timm")
    path = tmp_path / "config.json"
    names = {str(i): CLASSES[i] for i in (4, 0, 3, 1, 2)}
    path.write_text(json.dumps({**json.loads(path.read_text()), "label_names": names}))
    assert patchword.load(tmp_path).card.classes == CLASSES


def ours_of(name, **settings):
    model = moved(create_model(name, num_classes=len(CLASSES), **settings))
    model.card = replace(model.card, classes=CLASSES)
    return model


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_timm_loads_what_we_write(tmp_path, name):
    import timm
    from safetensors.torch import load_file

    model = ours_of(name, image_size=(32, 48), in_chans=4)
    save(model, tmp_path, format="timm")
    about = json.loads((tmp_path / "config.json").read_text())
    overlay = {**about["pretrained_cfg"], "file": str(tmp_path / "model.safetensors")}
    theirs = timm.create_model(
        about["architecture"],
        pretrained=True,
        pretrained_cfg_overlay=overlay,
        num_classes=about["num_classes"],
        **about["model_args"],
    ).eval()
    close(theirs(images((32, 48), 4)), model(images((32, 48), 4)))
    assert theirs.state_dict().keys() == load_file(tmp_path / "model.safetensors").keys()
    assert about["label_names"] == list(CLASSES)
    close(patchword.load(tmp_path)(images((32, 48), 4)), model(images((32, 48), 4)))


def test_timm_opens_our_folder_by_itself(tmp_path):
    import timm

    model = ours_of("vit_tiny_patch16_224", image_size=32)
    save(model, tmp_path, format="timm")
    theirs = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    close(theirs(images()), model(images()))


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_transformers_loads_what_we_write(tmp_path, name):
    from transformers import AutoImageProcessor, AutoModelForImageClassification
    from transformers import DeiTForImageClassificationWithTeacher as Distilled

    model = ours_of(name, image_size=32)
    save(model, tmp_path, format="transformers")
    kind = Distilled if "distilled" in name else AutoModelForImageClassification
    theirs, said = kind.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(said.values()), said
    close(theirs.eval()(images()).logits, model(images()))
    assert tuple(theirs.config.id2label.values()) == CLASSES
    processor = AutoImageProcessor.from_pretrained(tmp_path)
    assert tuple(processor.image_mean) == model.card.preprocessing.mean
    again = patchword.load(tmp_path)
    assert again.card.classes == CLASSES
    close(again(images()), model(images()))

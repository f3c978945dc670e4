"""Google's archives: read as its code runs them, and written so that timm reads them."""

import io
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

import patchword
from patchword import models
from patchword.checkpoints import save
from patchword.errors import WeightsError
from patchword.factory import create_model
from patchword.heads.classify import classifier
from patchword.weights.arrays import read_arrays, write_arrays
from tests.families import bit, hybrid, vit
from tests.parity.peer import perturbed
from tests.weights.foreign import CLASSES, close, images, moved

COUNT = len(CLASSES)
SMALL = {
    "vit_tiny_patch16_224": (vit, {"image_size": (32, 48), "depth": 2}),
    "vit_tiny_r_s16_p8_224": (hybrid, {"image_size": (64, 32), "depth": 2}),
    "vit_base_r50_s16_224": (
        hybrid,
        {"image_size": (32, 48), "stem_depth": (1, 2), "patch_size": 8, **vit.SMALL},
    ),
    "resnetv2_50x1_bit": (bit, {"image_size": (32, 48), "depth": (1, 2, 1, 1)}),
}


@pytest.mark.peers
@pytest.mark.parametrize("name", SMALL)
def test_timm_reads_what_we_write(tmp_path, name):
    family, changes = SMALL[name]
    config = replace(models.config(name), **changes)
    model = perturbed(classifier(config.build(), COUNT), name).eval()
    format_ = next(f for f in models.family(name).FORMATS if f.name == "google")
    path = tmp_path / "weights.npz"
    write_arrays(path, format_.save(model.state_dict(), config=config))
    sizes = (config, COUNT) if family is hybrid else (name, config, COUNT)
    theirs = family.timm_s(*sizes).model.eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.fill_(torch.nan)
    theirs.load_pretrained(str(path))
    close(model(images(config.image_size)), theirs(images(config.image_size)))
    back = format_.load(read_arrays(path), config)
    assert all(torch.equal(back[n], tensor) for n, tensor in model.state_dict().items())


@pytest.mark.parametrize("pretraining", [False, True])
def test_a_bare_archive_is_google_s_network_and_a_folder_is_ours(tmp_path, pretraining):
    model = moved(
        create_model("vit_tiny_patch16_224", num_classes=COUNT, pretraining_head=pretraining)
    )
    save(model, tmp_path, format="google")
    batch = images((224, 224))
    again = patchword.load(tmp_path)
    assert again.card == model.card and torch.equal(again(batch), model(batch))
    name = {"model": "vit_tiny_patch16_224"} if pretraining else {}
    bare = patchword.load(tmp_path / "model.npz", **name)
    assert bare.backbone.config == replace(model.backbone.config, act="tanh", resample="linear")
    assert bare.card.pretraining_head is pretraining and bare.card.num_classes == COUNT
    apart = (bare(batch) - model(batch)).abs().max()
    assert 0 < apart < 1e-2 * model(batch).abs().max()


def test_a_training_s_state_is_read_for_its_parameters(tmp_path):
    path = tmp_path / "state.npz"
    np.savez(path, **{"opt/target/head/bias": np.ones(3), "opt/state/step": np.int64(7)})
    assert [*read_arrays(path)] == ["head/bias"]


def test_half_precision_and_the_other_order_are_read(tmp_path):
    path = tmp_path / "w.npz"
    wanted = torch.randn(3, 4)
    half = wanted.bfloat16().view(torch.int16).numpy().view("V2")
    np.savez(path, a=half, b=np.asfortranarray(wanted.numpy()))
    found = read_arrays(path)
    assert torch.equal(found["a"], wanted.bfloat16()) and torch.equal(found["b"], wanted)


def archive(path, header, data=b"", **more):
    text = repr(header).encode().ljust(118) + b"\n"
    entry = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data
    with zipfile.ZipFile(path, "w", **more) as made:
        made.writestr("a.npy", entry)


def pickled():
    file = io.BytesIO()
    np.savez(file, a=np.array([{"a": 1}], dtype=object))
    return file.getvalue()


def test_archives_that_lie_are_refused(tmp_path):
    path = tmp_path / "w.npz"
    plain = {"descr": "<f4", "fortran_order": False}
    archive(path, {**plain, "shape": (2**40,)}, bytes(8))
    with pytest.raises(WeightsError, match="not what its header says"):
        read_arrays(path)
    archive(path, {**plain, "shape": (1 << 23,)}, bytes(1 << 25), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="it unpacks to"):
        read_arrays(path)
    whole = pickled()
    for content in (whole, whole[: len(whole) // 2], b"", b"PK\x03\x04", bytes(64)):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"w\.npz") as caught:
            patchword.load(path)
        assert "\n" not in str(caught.value)
    np.savez(path, a=np.array(["text"]))
    with pytest.raises(WeightsError, match="not numbers of a network"):
        read_arrays(path)

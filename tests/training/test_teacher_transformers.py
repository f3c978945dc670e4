"""A teacher that transformers saved: its answers, resolution, normalisation and class names."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from patchword import train
from patchword.training.teacher import load_teacher
from tests.parity.peer import perturbed
from tests.training.runs import photos

pytestmark = pytest.mark.peers

CLASSES = ("hen", "cat", "dog")  # in the teacher's order
MEAN, STD = [0.45, 0.5, 0.35], [0.2, 0.25, 0.3]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder as the library writes it, its network and its processor."""
    import transformers

    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=44,
        image_size=24,
        patch_size=8,
        num_labels=3,
        initializer_range=0.3,  # else it says much the same of every picture
        id2label=dict(enumerate(CLASSES)),
        label2id={name: number for number, name in enumerate(CLASSES)},
    )
    net = perturbed(transformers.ViTForImageClassification(config), "teacher").eval()
    side = {"height": 24, "width": 24}
    processor = transformers.ViTImageProcessor(size=side, image_mean=MEAN, image_std=STD)
    folder = tmp_path_factory.mktemp("transformers") / "teacher"
    net.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder, net, processor


def test_it_answers_as_the_library_does(saved):
    folder, net, processor = saved
    teacher = load_teacher(str(folder), CLASSES, 3)
    frame = teacher.card.preprocessing
    assert (frame.image_size, frame.interpolation) == ((24, 24), "bilinear")
    pixels = torch.randint(0, 256, (5, 3, 24, 24), dtype=torch.uint8)
    pictures = [np.ascontiguousarray(p.permute(1, 2, 0).numpy()) for p in pixels]
    inputs = processor(pictures, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        wanted = net(pixel_values=inputs).logits
    assert wanted.std(dim=0).min() > 0.05
    torch.testing.assert_close(teacher.answer(pixels.float(), "fp32"), wanted, rtol=0, atol=2e-5)


def test_a_student_s_pixels_are_brought_to_its_own_size_and_colours(saved):
    folder, net, _ = saved
    teacher = load_teacher(str(folder), CLASSES, 3)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    for side in (16, 40):
        pixels = 255 * torch.rand(4, 3, side, side)
        sized = F.interpolate(pixels, (24, 24), mode="bilinear", antialias=True)
        with torch.no_grad():
            wanted = net(pixel_values=(sized / 255 - mean) / std).logits
        torch.testing.assert_close(teacher.answer(pixels, "fp32"), wanted, rtol=0, atol=2e-5)
    grey = 255 * torch.rand(2, 1, 24, 24)
    with torch.no_grad():
        wanted = net(pixel_values=(grey / 255 - mean) / std).logits
    torch.testing.assert_close(teacher.answer(grey, "fp32"), wanted, rtol=0, atol=2e-5)


@pytest.mark.parametrize("words", [{"distill": "soft"}, {"unlabelled": "train"}], ids=str)
def test_it_teaches_pictures_of_another_size_and_another_order_of_classes(saved, tmp_path, words):
    folder, _, _ = saved
    photos(tmp_path / "photos")
    if "unlabelled" in words:
        words = {"unlabelled": tmp_path / "photos" / words["unlabelled"]}
    run = train(
        str(tmp_path / "photos"),
        out=tmp_path / "run",
        model="vit_mini_patch4_32",
        teacher=folder,
        cache=tmp_path / "cache",
        precision="fp32",
        workers=0,
        device="cpu",
        settings=["steps=2", "batch_size=6"],
        **words,
    )
    (key,) = {
        json.dumps(found["preprocessing"])
        for path in (tmp_path / "cache").rglob("key.json")
        if (found := json.loads(path.read_text()))["columns"] == [1, 2, 0]
    }
    said = json.loads(key)
    assert (said["image_size"], said["mean"], said["std"]) == ([24, 24], MEAN, STD)
    if "distill" in words:
        assert 0 <= run.scores["validation"]["teacher"]["top1"] <= 1
    else:
        assert (run.path / "pseudo_labels.csv").exists()

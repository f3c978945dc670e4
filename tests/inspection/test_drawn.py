"""What measures answer with draws itself in a notebook, and is else a plain tensor or table."""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from patchword.inspection.attention import attention_maps, class_attention, looked_at
from patchword.inspection.attribution import gradcam, relevance
from patchword.inspection.curves import deletion
from patchword.inspection.distance import attention_distance
from patchword.inspection.drawn import Heat, titles
from patchword.inspection.entropy import attention_entropy
from patchword.inspection.positions import relative_biases
from patchword.inspection.rollout import rollout
from patchword.inspection.sanity import sanity
from patchword.inspection.similarity import cka, grams
from patchword.inspection.stem import filters, position_similarity
from patchword.inspection.tokens import artifacts, principal_picture, token_norms
from tests.inspection.tiny import SWIN, VIT, images, perturbed

PICTURES = {
    "attention_maps": attention_maps,
    "class_attention": class_attention,
    "looked_at": looked_at,
    "rollout": rollout,
    "relevance": relevance,
    "gradcam": gradcam,
    "filters": lambda model, _: filters(model.backbone),
    "position_similarity": lambda model, _: position_similarity(model.backbone),
    "principal_picture": principal_picture,
    "token_norms": token_norms,
    "cka": lambda model, batch: cka(grams(model, batch), grams(model, batch)),
}
LINES = {
    "attention_distance": attention_distance,
    "attention_entropy": attention_entropy,
    "deletion": lambda model, batch: deletion(model, batch, rollout(model, batch)),
    "sanity": lambda model, batch: sanity(model, batch, gradcam),
}


def opened(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_draw_themselves(name):
    torch.manual_seed(0)
    found = PICTURES[name](perturbed(VIT, 3), images(VIT, 4))
    pixels = opened(found._repr_png_())
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 4
    assert getattr(found, "_repr_svg_", lambda: None)() is None


@pytest.mark.parametrize("name", LINES)
def test_numbers_by_depth_draw_themselves(name):
    found = LINES[name](perturbed(VIT, 3), images(VIT, 4))
    words = "".join(ElementTree.fromstring(found._repr_svg_()).itertext())
    expected = {
        "attention_distance": "block 3, head 4",
        "attention_entropy": "% of the most",
        "deletion": "area 0.",
        "sanity": "parts made random",
    }
    assert expected[name] in words
    assert getattr(found, "_repr_png_", lambda: None)() is None


def test_biases_draw_themselves_around_the_middle():
    found = relative_biases(perturbed(SWIN), images(SWIN))
    strip = found.figure()
    assert [row.title for row in strip.rows][:2] == ["stage 1, block 1", "stage 1, block 2"]
    assert [len(row.pictures) for row in strip.rows] == [2, 2, 4, 4]
    bias = found["stages.0.blocks.0.attn.attend"][:, 2, 2]
    head, down, across = np.unravel_index(int(bias.abs().argmax()), bias.shape)
    strongest = strip.rows[0].pictures[head][down, across, :3]
    red, blue = (200, 80, 30), (33, 102, 172)
    assert tuple(strongest) == (red if bias[head, down, across] > 0 else blue)
    assert opened(found._repr_png_()).std() > 10


def test_artifacts_draw_what_was_found():
    backbone, batch = perturbed(VIT), images(VIT)
    norms = token_norms(backbone, batch, "blocks.0").cells
    times = float((norms.max() / norms.median()).item()) * 0.99
    found = artifacts(backbone, batch, "blocks.0", times=times)
    assert found.cells.sum() == 1 and opened(found._repr_png_()).max() == 255


def test_the_brightest_of_a_map_is_its_greatest():
    found = rollout(perturbed(VIT), images(VIT))
    picture = found.figure().rows[1].pictures[0]
    assert picture.sum(axis=2).argmax() == found[1].argmax()


def test_what_is_computed_from_a_drawing_is_a_plain_tensor():
    found = rollout(perturbed(VIT), images(VIT))
    assert type(found) is Heat and isinstance(found, torch.Tensor)
    for other in (found + 1, found[0], found.mean(0), torch.stack([found, found])):
        assert type(other) is torch.Tensor
    assert found.tolist() == found.numpy().tolist()


def test_layers_are_named_by_stage_and_block():
    names = ["stages.1.blocks.0.attn.attend", "blocks.2.a", "blocks.2.b", "final"]
    expected = ["stage 2, block 1", "block 3, part 1", "block 3, part 2", "final"]
    assert titles(names) == expected

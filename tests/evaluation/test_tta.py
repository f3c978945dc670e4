"""Several views of each picture: which they are, and that they are averaged."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as F

from patchword import evaluation
from patchword.config import changed
from patchword.data.frame import Frame, frame
from patchword.data.views import views
from patchword.errors import ConfigError
from patchword.evaluation.tta import SeveralViews
from patchword.predictor import Predictor, normalise
from tests.evaluation.subjects import judged, subject

IMAGE = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 50, 70), dtype=np.uint8))
INTO = Frame(image_size=(24, 24), crop=0.75)


def test_ten_crops_are_torchvision_s():
    found = views(("flip", "crops"))(IMAGE, INTO)
    whole = F.resize(IMAGE, [32, 44], F.InterpolationMode.BICUBIC, antialias=True)
    wanted = F.ten_crop(whole, [24, 24])
    order = [4, 0, 1, 2, 3, 9]  # theirs: the centre last, then the mirrored ones
    assert len(found) == 10
    for place, theirs in zip([0, 1, 2, 3, 4, 5], order, strict=True):
        assert torch.equal(found[place], wanted[theirs])
    assert torch.equal(found[5:], found[:5].flip(-1))
    assert torch.equal(found[0], frame(IMAGE, INTO))


def test_scales_show_less_of_the_picture():
    found = views(("scale=1.5",))(IMAGE, INTO)
    assert len(found) == 2
    assert torch.equal(found[1], frame(IMAGE, Frame(image_size=(24, 24), crop=0.5)))
    with pytest.raises(ConfigError, match="leaves a border"):
        views(("scale=0.5",))(IMAGE, INTO)


@pytest.mark.parametrize(("name", "said"), [("flp", "did you mean 'flip'"), ("scale=x", "no view")])
def test_a_misspelt_view_is_corrected(name, said):
    with pytest.raises(ConfigError, match=said):
        changed(evaluation.named("tta"), [f'views=["{name}"]'])


@pytest.mark.parametrize("average", ["probabilities", "logits"])
def test_the_protocol_averages_what_it_says(average):
    model, data = subject(), judged()
    found = SeveralViews(views=("flip", "crops"), average=average)(model, data)
    frames = [
        views(("flip", "crops"))(data.test.read(i), model.card.preprocessing) for i in range(30)
    ]
    with torch.no_grad():
        scores = torch.stack([model.model(normalise(f, model.card.preprocessing)) for f in frames])
    mean = scores.mean(1).softmax(1) if average == "logits" else scores.softmax(2).mean(1)
    labels = torch.from_numpy(data.test.labels)
    wanted = torch.nn.functional.nll_loss(mean.double().log(), labels)
    several, plain = found.scores[-1], found.scores[2]
    assert (plain.under, several.under) == ("as is", "flip crops (10 views)")
    assert several.value == pytest.approx(wanted.item(), rel=1e-5)
    assert plain.value == pytest.approx(evaluation.named("topk")(model, data)["loss"].value)
    assert plain.value != pytest.approx(several.value, rel=1e-6)
    assert found.count == 30 and "cost 10 times the computing" in found.notes[0]


def test_a_predictor_answers_by_views():
    model, data = subject(), judged()
    picture = data.test.read(0)
    both = Predictor(model.model, model.card, ("flip",))
    single = Predictor(model.model, model.card)
    assert both.pixels(picture).shape == (2, 1, 8, 8) and single.pixels(picture).ndim == 3
    told = [single.probabilities(p[None]) for p in (picture, picture.flip(-1))]
    found = both.probabilities(both.pixels(picture)[None])
    torch.testing.assert_close(found, (told[0] + told[1]) / 2)
    assert both(picture).indices != () and not torch.allclose(told[0], told[1])
    logits = Predictor(model.model, model.card, ("flip",), "logits")
    wanted = (told[0].log() + told[1].log()).div(2).softmax(1)
    torch.testing.assert_close(logits.probabilities(logits.pixels(picture)[None]), wanted)

"""Corruptions and shifts as protocols: over the same pictures, compared with themselves as is."""

import numpy as np
import pytest
import torch

from patchword.data.corrupt import corrupt
from patchword.errors import ConfigError
from patchword.evaluation.corruptions import Corruptions
from patchword.evaluation.protocol import rows
from patchword.evaluation.shifts import Shifts, _scaled, _shifted
from patchword.evaluation.topk import PROTOCOL as TOPK
from tests.evaluation.subjects import judged, subject


def test_scores_are_those_of_the_corrupted_pictures():
    model, data = subject(), judged()
    said: list[str] = []
    model.say = said.append
    found = Corruptions(kinds=("contrast", "gaussian_noise"), severities=(1, 5))(model, data)
    table = rows(found)
    assert table["clean"]["top-1"].value == TOPK(model, data)["top-1"].value
    images = [
        corrupt(image, "contrast", 5, seed=0, index=i) for i, image in enumerate(data.test.images)
    ]
    pixels = (torch.stack(images).float() / 255 - 0.5) / 0.5
    with torch.inference_mode():
        right = model.model(pixels).argmax(1).numpy() == data.test.labels
    assert table["contrast"]["severity 5"].value == pytest.approx(np.mean(right))
    mean = (table["contrast"]["severity 1"].value + table["contrast"]["severity 5"].value) / 2
    assert table["contrast"]["mean"].value == pytest.approx(mean)
    every = (table["contrast"]["mean"].value + table["gaussian noise"]["mean"].value) / 2
    assert table["all"]["mean"].value == pytest.approx(every)
    assert said[-1] == "blobs: gaussian noise, severity 5" and len(said) == 4


def test_some_pictures_can_stand_for_all():
    found = Corruptions(kinds=("fog",), severities=(1,), pictures=7)(subject(), judged())
    assert found.count == 7


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kinds": ("fogg",)}, "did you mean 'fog'"),
        ({"severities": (6,)}, "from 1 to 5"),
        ({"pictures": 0}, "1 or more"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        Corruptions(**settings)
    with pytest.raises(ConfigError, match="wanted"):
        Shifts(pixels=(0,))


def test_moves_are_by_whole_pixels_and_repeat_the_edge():
    image = torch.arange(12, dtype=torch.uint8).view(1, 3, 4)
    found = _shifted(image, 0, down=1, across=-1)
    assert found[0].tolist() == [[1, 2, 3, 3], [1, 2, 3, 3], [5, 6, 7, 7]]
    even = torch.full((3, 9, 7), 5, dtype=torch.uint8)
    assert torch.equal(_scaled(even, 0, scale=0.5), even)
    wide = torch.zeros(1, 8, 8, dtype=torch.uint8)
    wide[:, 3:5, 3:5] = 200
    assert (_scaled(wide, 0, scale=2.0) > 100).sum() == 16


def test_pictures_as_they_are_are_answered_the_same():
    table = rows(Shifts(pixels=(1,), scales=(1.0, 0.5))(subject(), judged()))
    assert table["as is"]["same answer"].value == table["scale 1"]["same answer"].value == 1.0
    assert table["scale 1"]["top-1"].value == table["as is"]["top-1"].value
    assert table["scale 0.5"]["same answer"].value < 1.0

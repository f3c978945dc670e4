"""The bottom-up loss is its formulas, one image at a time; and a scene is learnt with it."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from patchword.engine.loop import Plan, fit, gradient
from patchword.engine.optimizers import Optim, optimizer
from patchword.engine.run import Run
from patchword.engine.state import State
from patchword.errors import ConfigError
from patchword.heads.axial_deeplab import CENTRE, OFFSET, AxialDeepLabConfig, Decoding
from patchword.heads.dense import MAIN
from patchword.heads.panoptic import Panoptic
from patchword.tasks.panoptic import NONE, BottomUp, BottomUpPanoptic, Parted, classes, targets
from tests.tasks.scenes import BACKBONE, CLASSES, drawn, pictured, quality

HEAD = AxialDeepLabConfig(
    semantic=Decoding(channels=24, context=24, low=(16,)),
    instance=Decoding(channels=24, context=24, low=(16,)),
    semantic_channels=24,
    instance_channels=24,
    things=(0, 1),
    window=5,
)


class Says(Panoptic):
    """A network that says what it is told to, whatever it sees; classes 0 and 1 are things."""

    def __init__(self, said):
        nn.Module.__init__(self)
        self.said = nn.ParameterDict(said)
        self.head = nn.Module()
        self.head.things = (0, 1)

    def enlarged(self, images):
        return dict(self.said.items())


def batch_of(ids, labels, crowd, weights=(1.0, 1.0)):
    images = torch.zeros(len(ids), 3, *ids.shape[1:])
    return Parted(images, ids, torch.tensor(labels), torch.tensor(crowd), torch.tensor(weights))


@pytest.fixture
def batch():
    """Return two images: two things, a crowd and stuff; and a thing alone on nothing."""
    ids = torch.zeros(2, 7, 9, dtype=torch.long)
    ids[0, :, :] = 4
    ids[0, 1:4, 1:5], ids[0, 5:7, 0:3], ids[0, 2:6, 6:8], ids[0, 0] = 1, 2, 3, 0
    ids[1, 2:4, 2:7] = 1
    labels, crowd = [[0, 1, 1, 2], [1, -1, -1, -1]], [[False, False, True, False], [False] * 4]
    return batch_of(ids, labels, crowd)


def draw(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    count, rows, columns = batch.ids.shape
    shapes = {MAIN: 3, CENTRE: 1, OFFSET: 2}
    return {
        name: torch.randn(count, dim, rows, columns, dtype=torch.float64, generator=generator)
        for name, dim in shapes.items()
    }


HOW = BottomUp(hardest=0.3, small_area=11, small_weight=2.0, sigma=1.0)


def written_out(said, batch, i):
    """Return the three terms of an image, pixel by pixel."""
    ids, labels, crowd = (t[i].numpy() for t in (batch.ids, batch.labels, batch.crowd))
    centre_of, area = {}, {}
    for k, label in enumerate(labels):
        places = np.argwhere(ids == k + 1)
        if label in (0, 1) and not crowd[k] and len(places):
            centre_of[k + 1], area[k + 1] = np.round(places.mean(0)), len(places)
    semantic, centre, offset = [], [], []
    scores, heat, way = (said[name][i].numpy() for name in (MAIN, CENTRE, OFFSET))
    for y, x in np.ndindex(*ids.shape):
        k = ids[y, x]
        bells = [
            math.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 2) * (max(abs(y - cy), abs(x - cx)) <= 4)
            for cy, cx in centre_of.values()
        ]
        if k == 0:
            continue
        row = scores[:, y, x]
        cost = np.log(np.exp(row).sum()) - row[labels[k - 1]]
        semantic.append(cost * (2 if area.get(k, 99) < 11 else 1))
        if not crowd[k - 1]:
            centre.append((heat[0, y, x] - max([0, *bells])) ** 2)
        if k in centre_of:
            cy, cx = centre_of[k]
            offset.append((abs(way[0, y, x] - (cy - y)) + abs(way[1, y, x] - (cx - x))) / 2)
    most = round(0.3 * ids.size)
    return [np.mean(part) for part in (sorted(semantic)[::-1][:most], centre, offset)]


def test_it_is_its_formulas(batch):
    said = draw(batch)
    task = BottomUpPanoptic(Says(said), HOW)
    loss = task(batch, task.count(batch))
    wanted = np.mean([written_out(said, batch, i) for i in range(2)], axis=0)
    found = [loss.parts[name].item() for name in ("semantic", CENTRE, OFFSET)]
    assert found == pytest.approx(wanted.tolist())
    total = wanted @ [HOW.semantic, HOW.centre, HOW.offset]
    assert loss.total.item() == pytest.approx(total)


def test_an_image_with_nothing_or_unreadable_has_no_part(batch):
    said = draw(batch)
    alone = BottomUpPanoptic(Says({name: t[:1] for name, t in said.items()}), HOW)
    first = Parted(*(t[:1] for t in batch))
    wanted = alone(first, alone.count(first)).total
    ids = batch.ids.clone()
    ids[1] = 0
    task = BottomUpPanoptic(Says(said), HOW)
    for other in (batch._replace(ids=ids), batch._replace(weights=torch.tensor([1.0, 0.0]))):
        loss = task(other, task.count(other)).total
        torch.testing.assert_close(loss, wanted)
        loss.backward()
        assert not any(part.grad[1].any() for part in task.model.said.values())
        task.zero_grad()


def test_perfect_answers_cost_nothing(batch):
    truth = [
        targets(ids, [1, 2] if i == 0 else [1], HOW, torch.float64)
        for i, ids in enumerate(batch.ids)
    ]
    labels = classes(batch.ids, batch.labels)
    said = {
        MAIN: 99 * torch.eye(3)[labels.clamp(min=0)].permute(0, 3, 1, 2).double(),
        CENTRE: torch.stack([t.heat for t in truth])[:, None],
        OFFSET: torch.stack([t.offset for t in truth]),
    }
    task = BottomUpPanoptic(Says(said), HOW)
    assert task(batch, task.count(batch)).total.item() == pytest.approx(0, abs=1e-9)


def test_pixels_in_no_segment_have_no_class(batch):
    labels = classes(batch.ids, batch.labels)
    assert (labels[0, 0] == NONE).all() and labels[0, 3, 6] == 1 and labels[1, 3, 3] == 1


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"hardest": 0.0}, {"hardest": 1.5}, {"sigma": 0.0}):
        with pytest.raises(ConfigError):
            BottomUp(**wrong)


def test_slices_of_a_step_have_the_gradient_of_the_whole():
    """Though one of them has an image with nothing on it."""
    torch.manual_seed(0)
    task = BottomUpPanoptic(HEAD.assemble(BACKBONE.build(), CLASSES)).double()
    for part in task.modules():
        if isinstance(part, nn.BatchNorm2d | nn.Dropout):
            part.forward = part.eval().forward
            part.train = lambda mode=True, part=part: part  # it looks across a slice
    whole = pictured([drawn(), drawn(flipped=True), drawn(), drawn()])
    whole = whole._replace(images=whole.images.double(), weights=whole.weights.double())
    whole.ids[2] = 0
    state = State(task, torch.optim.SGD(task.parameters()))
    slopes = []
    for count in (1, 2):
        parts = [Parted(*part) for part in zip(*(t.chunk(count) for t in whole), strict=True)]
        gradient(state, parts, Plan(steps=1, batch_size=4))
        slopes.append(
            torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None])
        )
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-9, atol=1e-12)


def test_the_one_loop_overfits_two_scenes(tmp_path):
    torch.manual_seed(0)
    model = HEAD.assemble(BACKBONE.build(), CLASSES)
    scenes = [drawn(), drawn(flipped=True)]
    batch, how = pictured(scenes), BottomUp(sigma=2.0, small_area=70, offset=0.1)
    task = BottomUpPanoptic(model, how)
    made = optimizer(Optim(lr=5e-3, weight_decay=0.0), task, model.backbone.spine(), 2)

    def feed(step):
        while True:
            yield [batch]

    fit(State(task, made), feed, Plan(steps=120, batch_size=2, log=40), Run(tmp_path))
    found = quality(model, batch, scenes)
    assert found.pq > 0.9 and found.classes == CLASSES, found

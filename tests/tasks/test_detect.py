"""Set prediction: matching is the cheapest, losses are DETR's by hand, and boxes are learnt."""

from itertools import permutations
from math import exp, log

import pytest
import torch
from torch import nn

from patchword.engine.loop import Plan, fit, gradient
from patchword.engine.optimizers import Optim, optimizer
from patchword.engine.run import Run
from patchword.engine.state import State
from patchword.errors import ConfigError
from patchword.heads.deformable_detr import DeformableDETRConfig
from patchword.heads.dense import MAIN
from patchword.heads.detector import Detector, Found, SetHead
from patchword.heads.detr import DETRConfig
from patchword.heads.sparse_rcnn import SparseRCNNConfig
from patchword.models.pvtv2 import PVTv2Config
from patchword.tasks.detect import (
    NOTHING,
    Boxed,
    Detect,
    Detection,
    Weights,
    assigned,
    boxed,
    overlaps,
)


class Soft(SetHead):
    """A head that says what it is told to."""

    scoring = "softmax"

    def __init__(self, queries):
        nn.Module.__init__(self)
        self.num_queries = queries

    def heads(self, taps, extent):
        raise NotImplementedError


class Single(Soft):
    scoring = "sigmoid"


class Corners(Single):
    compared = "corners"


class Says(Detector):
    """A network that says what it is told to, whatever it sees."""

    def __init__(self, kind, **heads):
        nn.Module.__init__(self)
        self.card, self.said = None, {name.replace("_", "."): one for name, one in heads.items()}
        self.head = kind(heads["main"].scores.shape[1])

    def heads(self, images, sizes=None):
        return self.said

    def padded(self, x):
        return x


def draw(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, dtype=torch.float64, generator=generator)


def said(b=2, q=5, classes=4, seed=0):
    boxes = torch.cat([draw(b, q, 2, seed=seed), 0.1 + 0.3 * draw(b, q, 2, seed=seed + 1)], -1)
    return Found(6 * draw(b, q, classes, seed=seed + 2) - 3, boxes)


def batch(counts=(3, 1), classes=3, weights=None):
    b, n = len(counts), max(counts)
    labels = torch.randint(0, classes, (b, n), generator=torch.Generator().manual_seed(9))
    for i, count in enumerate(counts):
        labels[i, count:] = NOTHING
    boxes = torch.cat([draw(b, n, 2, seed=7), 0.1 + 0.3 * draw(b, n, 2, seed=8)], -1)
    weights = torch.ones(b) if weights is None else torch.tensor(weights)
    sizes = torch.full((b, 2), 8)
    return Boxed(torch.zeros(b, 3, 8, 8), sizes, boxes, labels, weights.double())


def giou(a, b):
    """Work the generalised overlap of two boxes out, by their centres and sides."""
    a, b = ([c[0] - c[2] / 2, c[1] - c[3] / 2, c[0] + c[2] / 2, c[1] + c[3] / 2] for c in (a, b))
    wide, high = (max(0, min(a[i + 2], b[i + 2]) - max(a[i], b[i])) for i in (0, 1))
    sizes = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    union = sum(sizes) - wide * high
    around = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return wide * high / union - (around - union) / around


def share(row, label, kind):
    row = row.tolist()
    if kind is Soft:
        return exp(row[label]) / sum(map(exp, row))
    return 1 / (1 + exp(-row[label]))


def price(found, objects, i, q, n, kind):
    """Work out what it costs to match a query with an object, by the papers' weights."""
    box, wanted = found.boxes[i, q].tolist(), objects.boxes[i, n].tolist()
    p = share(found.scores[i, q], objects.labels[i, n], kind)
    apart = sum(abs(a - b) for a, b in zip(box, wanted, strict=True))
    if kind is Soft:
        return -p + 5 * apart - 2 * giou(box, wanted)
    there = 0.25 * (1 - p) ** 2 * -log(p + 1e-8)
    return 2 * (there - 0.75 * p**2 * -log(1 - p + 1e-8)) + 5 * apart - 2 * giou(box, wanted)


def cheapest(found, objects, i, kind):
    """Try all ways of matching an image's objects; return the queries, object by object."""
    count = int((objects.labels[i] != NOTHING).sum())
    ways = permutations(range(found.scores.shape[1]), count)
    return min(
        ways, key=lambda way: sum(price(found, objects, i, q, n, kind) for n, q in enumerate(way))
    )


@pytest.mark.parametrize("kind", [Soft, Single])
def test_matching_is_the_cheapest_of_all(kind):
    found, objects = said(), batch()
    taken = Detect(Says(kind, main=found)).matched({MAIN: found}, {MAIN: objects})[MAIN]
    for i, row in enumerate(taken.tolist()):
        way = cheapest(found, objects, i, kind)
        assert row == [*way, *[NOTHING] * (len(row) - len(way))]


def by_hand(found, objects, kind, no_object=0.1):
    """Work the three losses out, query by query, without their weights."""
    label = queries = box = lack = number = 0
    for i in range(len(found.scores)):
        way = cheapest(found, objects, i, kind)
        for q, row in enumerate(found.scores[i]):
            own = objects.labels[i, way.index(q)].item() if q in way else None
            if kind is Soft:
                weight = no_object if own is None else 1
                place = len(row) - 1 if own is None else own
                label, queries = label - weight * log(share(row, place, Soft)), queries + weight
                continue
            for c in range(len(row)):
                p = share(row, c, Single)
                there = -0.25 * (1 - p) ** 2 * log(p)
                label += there if c == own else -0.75 * p**2 * log(1 - p)
        for n, q in enumerate(way):
            a, b = found.boxes[i, q].tolist(), objects.boxes[i, n].tolist()
            box += sum(abs(x - y) for x, y in zip(a, b, strict=True))
            lack, number = lack + 1 - giou(a, b), number + 1
    per = queries if kind is Soft else number
    return {"label": label / per, "box": box / number, "overlap": lack / number}


@pytest.mark.parametrize("kind", [Soft, Single])
def test_losses_are_the_papers(kind):
    """Every layer's, each matched by itself."""
    layers, objects = {"aux_0": said(seed=20), "main": said()}, batch()
    task = Detect(Says(kind, **layers))
    loss = task(objects, task.count(objects))
    weights = {"label": 1 if kind is Soft else 2, "box": 5, "overlap": 2}
    wanted = {
        f"{name.replace('_', '.')}.{what}": weights[what] * value
        for name, found in layers.items()
        for what, value in by_hand(found, objects, kind).items()
    }
    assert {name: part.item() for name, part in loss.parts.items()} == pytest.approx(wanted)
    assert loss.total.item() == pytest.approx(sum(wanted.values()))


def test_boxes_may_be_compared_by_their_corners():
    found, objects = said(), batch()
    task = Detect(Says(Corners, main=found))
    loss = task(objects, task.count(objects))
    taken = task.matched({MAIN: found}, {MAIN: objects})[MAIN]
    total = 0
    for i, row in enumerate(taken.tolist()):
        for n, q in enumerate(row):
            if q != NOTHING:
                (x, y, w, h), (a, b, c, d) = found.boxes[i, q], objects.boxes[i, n]
                total += sum(abs(s) for s in (x - w / 2 - a + c / 2, x + w / 2 - a - c / 2)) + sum(
                    abs(s) for s in (y - h / 2 - b + d / 2, y + h / 2 - b - d / 2)
                )
    assert loss.parts["main.box"].item() == pytest.approx(5 * total.item() / 4)


def test_unreadable_pictures_count_for_nothing():
    found = said()
    task = Detect(Says(Soft, main=found))
    both, one = batch(weights=(1.0, 0.0)), batch()
    one = Boxed(*(None if t is None else t[:1] for t in one))
    alone = Detect(Says(Soft, main=Found(found.scores[:1], found.boxes[:1])))
    wanted = alone(one, alone.count(one)).total
    torch.testing.assert_close(task(both, task.count(both)).total, wanted)


def test_masks_are_learnt_by_their_pixels_and_by_their_overlap():
    found = said(b=1, q=3)
    masks = 4 * draw(1, 3, 4, 4, seed=3) - 2
    target = draw(1, 2, 8, 8, seed=4) > 0.5
    found, objects = found._replace(masks=masks), batch((2,))._replace(masks=target)
    task = Detect(Says(Soft, main=found))
    loss = task(objects, task.count(objects))
    way = cheapest(found, objects, 0, Soft)
    large = nn.functional.interpolate(masks, (8, 8), mode="bilinear")[0, list(way)].sigmoid()
    focal = torch.where(
        target[0], -0.25 * (1 - large) ** 2 * large.log(), -0.75 * large**2 * (1 - large).log()
    )
    assert loss.parts["main.mask"].item() == pytest.approx(focal.mean((1, 2)).sum().item() / 2)
    both, all_ = (large * target[0]).sum((1, 2)), large.sum((1, 2)) + target[0].sum((1, 2))
    dice = 1 - (2 * both + 1) / (all_ + 1)
    assert loss.parts["main.dice"].item() == pytest.approx(dice.sum().item() / 2)


@pytest.mark.parametrize("kind", [Soft, Single])
def test_pictures_with_nothing_on_them_teach_that(kind):
    found, objects = said(), batch((0, 0))
    found.scores.requires_grad_(), found.boxes.requires_grad_()
    task = Detect(Says(kind, main=found))
    loss = task(objects, task.count(objects))
    loss.total.backward()
    assert loss.total > 0 and loss.total.isfinite() and loss.parts["main.box"] == 0
    assert found.scores.grad.any() and not found.boxes.grad.any()


@pytest.mark.parametrize("kind", [Soft, Single])
def test_objects_may_outnumber_queries(kind):
    found, objects = said(b=1, q=2), batch((4,))
    task = Detect(Says(kind, main=found))
    taken = task.matched({MAIN: found}, {MAIN: objects})[MAIN]
    assert sorted(taken[0].tolist()) == [NOTHING, NOTHING, 0, 1]
    assert task(objects, task.count(objects)).total.isfinite()
    if kind is Soft:
        assert task.count(objects).tolist() == [4, 2]


def test_an_answer_that_is_no_number_is_told_by_the_loss():
    found, objects = said(), batch()
    found.boxes[0, 0, 0] = torch.nan
    taken = Detect(Says(Soft, main=found)).matched({MAIN: found}, {MAIN: objects})[MAIN]
    assert 0 not in taken[0].tolist()


def test_overlaps_range_from_minus_one_to_one():
    box = torch.tensor([0.0, 0.0, 1.0, 1.0])
    far = torch.tensor([1000.0, 1000.0, 1001.0, 1001.0])
    assert overlaps(box, box) == 1 and -1 < overlaps(box, far) < -0.99


def test_rows_that_are_no_objects_are_left_out():
    costs = torch.tensor([[[5.0, -100], [1, -100]]])
    assert assigned(costs, [1]).tolist() == [[1, NOTHING]]


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"alpha": 1.5}, {"gamma": -1.0}, {"no_object": 0.0}):
        with pytest.raises(ConfigError):
            Detection(**wrong)


def scenes():
    """Return two pictures of bright rectangles, whose colours are their classes."""
    pictures, objects = [], []
    for rows, columns, boxes in (
        (32, 32, ((2, 3, 14, 15, 0), (18, 16, 30, 30, 1))),
        (32, 24, ((4, 6, 20, 22, 1),)),
    ):
        picture = torch.full((3, rows, columns), -0.5)
        for left, top, right, bottom, label in boxes:
            picture[label, top:bottom, left:right] = 1.5
        pictures.append(picture)
        places = torch.tensor([box[:4] for box in boxes], dtype=torch.float32)
        objects.append((places, torch.tensor([box[4] for box in boxes])))
    return boxed(pictures, objects)


def test_pictures_of_any_size_make_a_batch():
    made = scenes()
    assert made.images.shape == (2, 3, 32, 32) and made.sizes.tolist() == [[32, 32], [32, 24]]
    assert made.labels.tolist() == [[0, 1], [1, NOTHING]]
    assert made.boxes[1, 0].tolist() == pytest.approx([0.5, 14 / 32, 16 / 24, 0.5])
    assert not made.images[1, :, :, 24:].any()


BODY = PVTv2Config(
    image_size=(32, 32),
    patch_size=(3, 3),
    stride=(2, 2),
    embed_dim=(16, 32),
    depth=(1, 1),
    num_heads=(1, 2),
    mlp_ratio=(2.0, 2.0),
    sr_ratio=(2, 1),
)
SMALL = {"embed_dim": 32, "num_heads": 2, "mlp_dim": 64, "num_queries": 6, "drop_rate": 0.0}
LEARNERS = {
    "detr": DETRConfig(depth=(1, 2), **SMALL),
    "deformable_detr": DeformableDETRConfig(
        depth=(1, 2), num_levels=2, points=2, refine=True, **SMALL
    ),
    "sparse_rcnn": SparseRCNNConfig(
        embed_dim=32, num_heads=2, depth=2, mlp_dim=64, num_queries=6, hidden=16, cells=5
    ),
}
STEPS = {"detr": 80, "deformable_detr": 150, "sparse_rcnn": 100}


@pytest.mark.parametrize("name", LEARNERS)
def test_the_one_loop_overfits_two_pictures(tmp_path, name):
    torch.manual_seed(0)
    model, data = LEARNERS[name].assemble(BODY.build(), 2), scenes()
    task = Detect(model)
    made = optimizer(Optim(lr=2e-3, weight_decay=0.0), task, model.backbone.spine(), 2)
    steps = STEPS[name]

    def feed(step):
        while True:
            yield [data]

    plan = Plan(steps=steps, batch_size=2, log=20, clip=0.5)
    fit(State(task, made), feed, plan, Run(tmp_path))
    with torch.no_grad():
        said = model.eval().detect(data.images, data.sizes)
    for i, (one, size) in enumerate(zip(said, data.sizes, strict=True)):
        count = int((data.labels[i] != NOTHING).sum())
        best = one.scores.topk(count).indices
        rows, columns = size.tolist()
        x, y, w, h = (data.boxes[i, :count] * torch.tensor([columns, rows] * 2)).unbind(1)
        wanted = torch.stack([x - w / 2, y - h / 2, x + w / 2, y + h / 2], dim=1)
        pairs = overlaps(one.boxes[best][:, None], wanted[None])
        assert (pairs.max(dim=0).values > 0.7).all()
        nearest = pairs.argmax(dim=0)
        assert torch.equal(one.labels[best][nearest], data.labels[i, :count])


@pytest.mark.parametrize("name", LEARNERS)
def test_slices_of_a_step_have_the_gradient_of_the_whole(name):
    """Though their images have unequally many objects."""
    torch.manual_seed(0)
    model = LEARNERS[name].assemble(BODY.build(), 2)
    task, whole = Detect(model).double(), scenes()
    whole = Boxed(*(t.double() if t is not None and t.is_floating_point() else t for t in whole))
    state, slopes = State(task, torch.optim.SGD(task.parameters())), []
    for count in (1, 2):
        rows = [t.chunk(count) if t is not None else [None] * count for t in whole]
        gradient(state, [Boxed(*p) for p in zip(*rows, strict=True)], Plan(steps=1, batch_size=2))
        slopes.append(torch.cat([p.grad.flatten() for p in task.parameters()]))
    torch.testing.assert_close(slopes[1], slopes[0], rtol=1e-9, atol=1e-12)


def test_weights_of_matching_and_of_the_loss_are_their_own():
    found, objects = said(), batch()
    plain = Detect(Says(Soft, main=found))
    how = Detection(cost=Weights(label=1.0), loss=Weights(label=3.0, box=0.0, overlap=0.0))
    other = Detect(Says(Soft, main=found), how)
    loss = other(objects, other.count(objects))
    wanted = plain(objects, plain.count(objects)).parts["main.label"]
    assert loss.total.item() == pytest.approx(3 * wanted.item())

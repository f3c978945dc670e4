"""MaX-DeepLab's loss: what its authors' tensors do not show; and a scene is learnt with it."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from patchword.engine.loop import Plan, fit, gradient
from patchword.engine.optimizers import Optim, optimizer
from patchword.engine.run import Run
from patchword.engine.state import State
from patchword.heads.axial_deeplab import Decoding
from patchword.heads.max_deeplab import CLASSES as LOGITS
from patchword.heads.max_deeplab import MASKS, PIXELS, MaXDeepLabConfig, Path
from patchword.tasks.panoptic import Parted
from patchword.tasks.slots import SlotLoss, SlotPanoptic, Truth, slot_costs, truth
from tests.tasks.scenes import BACKBONE, CLASSES, drawn, pictured, quality

HEAD = MaXDeepLabConfig(
    slots=8,
    memory=24,
    path=Path(filters=16, num_heads=2, hidden=48),
    channels=48,
    blocks=(1, 1),
    num_heads=2,
    span=8,
    drop_path_rate=0.0,
    pixel_channels=16,
    head_channels=24,
    semantic=Decoding(channels=24, context=24, low=(16,), rates=(1, 2)),
    norm_momentum=0.1,
    things=(0, 1),
)


def drawn_case(slots=5, classes=4, seed=0):
    """Return answers for one image of 3 x 4 cells, and its segments: two things, one stuff."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    pixels = nn.functional.normalize(randn(1, 6, 3, 4), dim=1)
    found = {MASKS: randn(1, slots, 3, 4), LOGITS: randn(1, slots, classes + 1), PIXELS: pixels}
    ids = torch.tensor([[1, 1, 2, 2], [1, 3, 3, 4], [0, 3, 5, 5]])
    labels, crowd = torch.tensor([0, 1, 2, 2, 1]), torch.tensor([False] * 4 + [True])
    return found, truth(ids, labels, crowd, (0, 1), torch.float64)


def test_segments_are_things_and_kinds_of_stuff():
    _, wanted = drawn_case()
    assert wanted.labels.tolist() == [0, 1, 2] and wanted.things == 2
    assert wanted.masks.sum(1).tolist() == [3, 2, 4]  # stuff of a kind is one, a crowd is none
    assert wanted.known.sum() == 11


def written_out(found, wanted, how):
    """Return the terms of one image, from the paper's formulas and the authors' weights."""
    scores = found[MASKS][0].flatten(1).numpy()
    logits, pixels = found[LOGITS][0].numpy(), found[PIXELS][0].flatten(1).numpy()
    masks, labels, known = wanted.masks.numpy(), wanted.labels.numpy(), wanted.known.numpy()
    shares = np.exp(scores) / np.exp(scores).sum(0)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    slots, count = len(scores), len(masks)
    dice = np.zeros((count, slots))
    for j in range(count):
        for i in range(slots):
            seen = shares[i] * known
            dice[j, i] = (masks[j] * seen).sum() / ((masks[j].sum() + seen.sum()) / 2 + 1e-5)
    rows, columns = linear_sum_assignment(-dice * chances[:, labels].T)
    pair = dict(zip(columns, rows, strict=True))
    inside, pq_mask, pq_class, mask_id = masks.sum(0), 0.0, 0.0, 0.0
    for i in range(slots):
        if i in pair:
            j = pair[i]
            seen = shares[i] * inside
            lap = (2 * (seen * masks[j]).sum() + 1) / (seen.sum() + masks[j].sum() + 1)
            pq_mask += (1 - lap) * max(chances[i, labels[j]], 1e-5) * how.alpha / slots
            cost = -np.log(chances[i, labels[j]]) * max(dice[j, i], 1e-5) * how.alpha
            mask_id -= (masks[j] * np.log(shares[i])).sum() / inside.sum()
        else:
            void = (shares[i] * (1 - known)).sum() / (shares[i].sum() + 1e-5)
            cost = -np.log(chances[i, -1]) * max(void, 1e-5) * (1 - how.alpha)
        pq_class += cost / slots
    centres = masks @ pixels.T
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    alike = np.exp(centres @ pixels / how.temperature)
    things = masks[: wanted.things]
    told = -np.log(alike / alike.sum(0))[: wanted.things]
    return {
        "pq_mask": pq_mask,
        "pq_class": pq_class,
        "mask_id": mask_id,
        "instance": (things * told).sum() / things.sum(),
    }


@pytest.mark.parametrize("slots", [3, 5, 9])
def test_it_is_its_formulas(slots):
    found, wanted = drawn_case(slots)
    how = SlotLoss(alpha=0.6, temperature=0.5)
    costs = {name: cost.item() for name, cost in slot_costs(found, [wanted], how).items()}
    assert costs == pytest.approx(written_out(found, wanted, how))


def test_segments_without_a_slot_cost_what_their_authors_say():
    """Their cells as if of a slot that is nowhere; their class is asked of the first slot."""
    found, wanted = drawn_case(slots=2)
    costs = slot_costs(found, [wanted], SlotLoss())
    scores = found[MASKS][0].flatten(1)
    lone = [
        j
        for j in range(3)
        if costs["mask_id"] > 99_999 * wanted.masks[j].sum() / wanted.masks.sum() * 0.99
    ]
    assert lone and costs["mask_id"].isfinite() and scores.shape[0] == 2
    full = found[LOGITS].clone().requires_grad_()
    slot_costs({**found, LOGITS: full}, [wanted], SlotLoss())["pq_class"].sum().backward()
    asked = (full.grad[0] < 0).sum(1)
    assert asked[0] == 2 and asked[1] == 1


def test_no_segment_costs_only_slots_that_are_not_void():
    found, wanted = drawn_case()
    none = Truth(wanted.masks[:0], wanted.labels[:0], 0, torch.zeros_like(wanted.known))
    costs = slot_costs(found, [none], SlotLoss())
    assert not any(costs[name].any() for name in ("pq_mask", "mask_id", "instance"))
    assert costs["pq_class"] > 0


def test_gradients_are_those_of_differences():
    """Of what the matching and the weights by each other's quality leave open."""
    found, wanted = drawn_case()
    names = (MASKS, LOGITS, PIXELS)
    inputs = [found[name].clone().requires_grad_() for name in names]
    held = found[MASKS], found[LOGITS]

    def costs(*given):
        terms = slot_costs(dict(zip(names, given, strict=True)), [wanted], SlotLoss())
        return terms["mask_id"] + terms["instance"]

    assert torch.autograd.gradcheck(costs, inputs)
    terms = slot_costs(dict(zip(names, inputs, strict=True)), [wanted], SlotLoss())
    masks, logits = torch.autograd.grad(
        terms["pq_mask"].sum(), (inputs[0], inputs[1]), allow_unused=True, retain_graph=True
    )
    assert masks.any() and logits is None and held[0] is found[MASKS]
    masks, logits = torch.autograd.grad(
        terms["pq_class"].sum(), (inputs[0], inputs[1]), allow_unused=True
    )
    assert masks is None and logits.any()


def test_an_image_without_a_segment_has_no_part():
    torch.manual_seed(0)
    task = SlotPanoptic(HEAD.assemble(BACKBONE.build(), CLASSES)).double()
    steady(task)
    whole = pictured([drawn(), drawn(flipped=True)])
    whole = whole._replace(images=whole.images.double(), weights=whole.weights.double())
    first = Parted(*(t[:1] for t in whole))
    whole.ids[1] = 0
    wanted = task(first, task.count(first))
    found = task(whole, task.count(whole))
    torch.testing.assert_close(found.total, wanted.total)
    assert found.parts.keys() == {"pq_mask", "pq_class", "mask_id", "instance", "semantic"}


def steady(task):
    """Keep batch norms from looking across a slice."""
    for part in task.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d | nn.Dropout):
            part.forward = part.eval().forward
            part.train = lambda mode=True, part=part: part


def test_slices_of_a_step_have_the_gradient_of_the_whole():
    torch.manual_seed(0)
    task = SlotPanoptic(HEAD.assemble(BACKBONE.build(), CLASSES)).double()
    steady(task)
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
    batch, task = pictured(scenes), SlotPanoptic(model)
    made = optimizer(Optim(lr=1e-2, weight_decay=0.0), task, model.backbone.spine(), 2)

    def feed(step):
        while True:
            yield [batch]

    fit(State(task, made), feed, Plan(steps=120, batch_size=2, log=50), Run(tmp_path))
    found = quality(model, batch, scenes)
    assert found.pq > 0.9 and found.classes == CLASSES, found

"""The losses of relative depth are their co-author's code, the paper's formulas, and are learnt."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from patchword.errors import ConfigError
from patchword.heads.dense import Dense
from patchword.heads.dpt import DPTDepthConfig
from patchword.models.vit import ViTConfig
from patchword.tasks.depth import Depth, DepthLoss, Depths, least_squares
from tests.parity.golden import Golden


class Says(Dense):
    """A network that says what it is told to, whatever it sees."""

    def __init__(self, said):
        nn.Module.__init__(self)
        self.said = nn.Parameter(said)

    def heads(self, images):
        return {"main": self.said[:, None]}


def depths(targets, known, weights=None):
    targets = targets.masked_fill(~known, torch.nan)
    images = torch.zeros(len(targets), 3, *targets.shape[1:])
    return Depths(images, targets, torch.ones(len(targets), dtype=targets.dtype))


def loss(said, batch, how):
    task = Depth(Says(said), how)
    return task(batch, task.count(batch))


@pytest.fixture
def golden(shared):
    return Golden(Path(shared / "goldens" / "dense_ssl_orig"), "loss_ssi_midas_a")


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_the_squared_loss_is_its_authors(golden, alpha):
    said, wanted = golden.held["in.pred"], golden.held["in.target"]
    known = golden.held["in.mask"].bool()
    how = DepthLoss(distance="mse", gradient=alpha)
    found = loss(said, depths(wanted, known), how).total
    torch.testing.assert_close(found, golden.held[f"loss.alpha{alpha}_image-based"])
    scale, shift = least_squares(said, wanted, known)
    torch.testing.assert_close(scale, golden.held["out.scale"])
    torch.testing.assert_close(shift, golden.held["out.shift"])


def drawn(seed=0, shape=(3, 9, 7)):
    generator = torch.Generator().manual_seed(seed)
    said, wanted = torch.rand(2, *shape, dtype=torch.float64, generator=generator) + 0.1
    return said, wanted, torch.rand(shape, generator=generator) > 0.25


def trimmed(said, wanted, known, how):
    """Return one image's loss: equations 5, 7, 8 and 11, written out."""

    def standard(x):
        values = np.sort(x[known])
        middle = values[(len(values) - 1) // 2]  # torch's median of an even number
        return (x - middle) / np.abs(x[known] - middle).mean()

    residual = standard(said) - standard(wanted)
    sizes = np.sort(np.abs(residual[known]))
    data = sizes[: int(len(sizes) * (1 - how.trim))].sum() / (2 * len(sizes))
    edges = 0.0
    for k in range(how.scales):
        r, m = residual[:: 2**k, :: 2**k], known[:: 2**k, :: 2**k]
        total = sum(
            np.abs(r[y + dy, x + dx] - r[y, x])
            for y in range(r.shape[0])
            for x in range(r.shape[1])
            for dy, dx in ((0, 1), (1, 0))
            if y + dy < r.shape[0] and x + dx < r.shape[1] and m[y, x] and m[y + dy, x + dx]
        )
        edges += total / max(m.sum(), 1)
    return data + how.gradient * edges


@pytest.mark.parametrize("how", [DepthLoss(), DepthLoss(trim=0.0, gradient=1.5, scales=2)])
def test_the_trimmed_loss_is_the_paper_s(how):
    said, wanted, known = drawn()
    each = [
        trimmed(*(t.numpy() for t in image), how) for image in zip(said, wanted, known, strict=True)
    ]
    assert loss(said, depths(wanted, known), how).total.item() == pytest.approx(np.mean(each))


@pytest.mark.parametrize("distance", ["trimmed", "mse"])
def test_no_scale_and_no_shift_of_an_image_counts(distance):
    said, wanted, known = drawn()
    how, batch = DepthLoss(distance=distance), depths(wanted, known)
    scale, shift = torch.tensor([0.5, 2.0, 3.0]), torch.tensor([1.0, -2.0, 0.3])
    other = scale[:, None, None] * said + shift[:, None, None]
    torch.testing.assert_close(loss(other, batch, how).total, loss(said, batch, how).total)
    assert loss(2 * wanted + 1, batch, how).total.item() == pytest.approx(0, abs=1e-9)
    far = wanted.masked_fill(~known, 99.0)
    torch.testing.assert_close(
        loss(said, depths(far, known), how).total, loss(said, batch, how).total
    )


@pytest.mark.parametrize("distance", ["trimmed", "mse"])
def test_an_image_without_a_known_pixel_has_no_part(distance):
    said, wanted, known = drawn()
    known[1] = False
    how = DepthLoss(distance=distance)
    found = loss(said, depths(wanted, known), how)
    rest = [0, 2]
    torch.testing.assert_close(
        found.total, loss(said[rest], depths(wanted[rest], known[rest]), how).total
    )
    task = Depth(Says(said), how)
    batch = depths(wanted, known)
    task(batch, task.count(batch)).total.backward()
    assert task.model.said.grad.isfinite().all() and not task.model.said.grad[1].any()


def test_settings_that_make_no_sense_are_refused():
    for wrong in ({"trim": 1.0}, {"gradient": -1.0}, {"scales": 0}):
        with pytest.raises(ConfigError):
            DepthLoss(**wrong)


def test_it_learns_two_images():
    torch.manual_seed(0)
    config = ViTConfig(image_size=(32, 32), patch_size=8, embed_dim=24, depth=4, num_heads=2)
    model = DPTDepthConfig(reassembled=(8, 8, 8, 8), channels=16).assemble(config.build(), 1)
    rows = torch.linspace(0.1, 1.0, 32)
    slope, hill = rows[:, None].expand(32, 32), (rows * rows.flip(0))[None].expand(32, 32)
    targets = torch.stack([slope, hill])
    images = 4 * targets[:, None].expand(-1, 3, -1, -1) - 2  # the brighter, the nearer
    batch = Depths(images, targets, torch.ones(2))
    task = Depth(model, DepthLoss(distance="mse"))
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-3)
    costs = []
    for _ in range(100):
        optimizer.zero_grad()
        total = task(batch, task.count(batch)).total
        total.backward()
        optimizer.step()
        costs.append(total.item())
    assert costs[-1] < 0.1 * costs[0]

"""A drawn scene of things and stuff, and how well a model parts it."""

import torch

from patchword.data.scene import Panoptic as Scene
from patchword.data.scene import Segment
from patchword.evaluation.panoptic import Tally
from patchword.models.pvtv2 import PVTv2Config
from patchword.tasks.panoptic import parted

COLOURS = torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -1], [0, 0, 0]])
CLASSES = 4  # 0 and 1 are things, 2 and 3 stuff
BACKBONE = PVTv2Config(
    image_size=(32, 32),
    patch_size=(3, 3),
    stride=(2, 2),
    embed_dim=(16, 32),
    depth=(1, 1),
    num_heads=(1, 2),
    mlp_ratio=(2.0, 2.0),
    sr_ratio=(2, 1),
)


def drawn(flipped=False):
    """Return a scene of 32 x 32 pixels, whose colours tell the class: three things, two stuffs."""
    ids = torch.full((32, 32), 40, dtype=torch.int32)
    ids[16:] = 50
    for k, (rows, columns) in {
        7: ((4, 12), (4, 12)),
        8: ((4, 14), (18, 28)),
        9: ((20, 28), (8, 20)),
    }.items():
        ids[slice(*rows), slice(*columns)] = k
    ids[:2] = 0
    if flipped:
        ids = ids.flip(1)
    labels = {7: 0, 8: 0, 9: 1, 40: 2, 50: 3}
    return Scene(ids, tuple(Segment(key, label) for key, label in labels.items()))


def pictured(scenes):
    """Return a batch of scenes."""
    pictures = []
    for scene in scenes:
        colours = torch.full((32, 32), 4)
        for segment in scene.segments:
            colours[scene.ids == segment.id] = segment.label
        pictures.append(COLOURS[colours].permute(2, 0, 1))
    return parted(torch.stack(pictures), scenes)


def quality(model, batch, scenes):
    """Return how well a model parts pictures."""
    tally = Tally(CLASSES)
    for parts, scene in zip(model.eval().parts(batch.images), scenes, strict=True):
        found = [Segment(k + 1, label) for k, label in enumerate(parts.labels.tolist())]
        found = [segment for segment in found if (parts.ids == segment.id).any()]
        tally.add(parts.ids.numpy(), found, scene.ids.numpy(), scene.segments)
    return tally.score()

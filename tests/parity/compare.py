"""How far a model of ours is from its references, as one row of figures per reference."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from patchword import models
from tests.parity.peers import Ours, Timm, Transformers, has_transformers, images, parameters

FULL = 350_000_000  # parameters; a larger network is compared at two blocks of full width
WORK = 200_000_000_000  # parameters x tokens; beyond it the images' sides are halved
TOLERANCE = {"logits": 2e-5, "features": 2e-5, "gradients": 2e-4}


@dataclass(frozen=True, kw_only=True)
class Row:
    """The largest errors, each relative to the largest value of its own tensor."""

    name: str
    reference: str
    run_at: str  # image size, and blocks where they are not all
    parameters: tuple[int, int]  # ours and theirs, at full size
    logits: float
    features: float  # over all blocks and the last norm, maps and prefix tokens
    gradients: float  # over all parameters

    @property
    def passed(self):
        close = all(getattr(self, what) <= limit for what, limit in TOLERANCE.items())
        return close and self.parameters[0] == self.parameters[1]


def referenced():
    """Name our models that timm has too; the rest are ours alone."""
    import timm

    return [name for name in models.index() if timm.is_model(name)]


def affordable(name):
    """Return the configuration at which a model is compared."""
    config = models.config(name)
    count, _ = parameters(name, "timm")
    if count > FULL:
        config = replace(config, depth=2)
    elif count * math.prod(side // config.patch_size for side in config.image_size) > WORK:
        cells = config.image_size[0] // config.patch_size
        side = (cells // 2) * config.patch_size
        config = replace(config, image_size=(side, side))
    return config


def relative(found, wanted):
    """Return the largest difference as a share of the largest value."""
    assert found.shape == wanted.shape
    if not wanted.numel():
        return 0.0
    return ((found - wanted).abs().max() / wanted.abs().max()).item()


def errors(ours, theirs):
    """Compare two sights, every level and every parameter of either in both."""
    assert ours.taps.keys() == theirs.taps.keys()
    assert ours.gradients.keys() == theirs.gradients.keys()
    pairs = [zip(ours.taps[name], theirs.taps[name], strict=True) for name in ours.taps]
    slopes = [(ours.gradients[name], theirs.gradients[name]) for name in ours.gradients]
    return {
        "logits": relative(ours.logits, theirs.logits),
        "features": max(relative(*pair) for level in pairs for pair in level),
        "gradients": max(relative(*pair) for pair in slopes),
    }


def compare(name, config) -> Iterator[Row]:
    """Run a model and its references, one after the other, and yield a row for each of them."""
    batch = images(config)
    timm = Timm(name, config)
    ours = Ours(config, timm.model.state_dict())
    seen, weights = ours.look(batch), ours.model.state_dict()
    del ours
    peers = [lambda: timm]
    if has_transformers(config):
        peers.append(lambda: Transformers(config, weights))
    size = "x".join(map(str, config.image_size))
    blocks = "" if config.depth == models.config(name).depth else f", {config.depth} blocks"
    for make in peers:
        peer = make()
        yield Row(
            name=name,
            reference=peer.label,
            run_at=size + blocks,
            parameters=parameters(name, peer.label),
            **errors(seen, peer.look(batch)),
        )

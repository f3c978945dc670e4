"""How far a model of ours is from its references, as one row of figures per reference."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from patchword import models
from patchword.features import Tap
from patchword.heads.classify import classifier
from patchword.weights import Format, fill
from tests.families import FAMILIES
from tests.parity.peer import CLASSES, images, perturbed, settled

FULL = 350_000_000  # parameters; a larger network is compared at two blocks of full width
WORK = 40_000_000_000  # multiply-adds; beyond it the images' sides are halved
TOLERANCE = {"logits": 2e-5, "features": 2e-5, "gradients": 2e-4}
NOISE = 1e-7  # share of the largest gradient: what is below it in both is rounding about 0


@dataclass(frozen=True, kw_only=True)
class Row:
    """The largest errors, each relative to the largest value of its own tensor."""

    name: str
    reference: str
    run_at: str  # image size, and what else is not the name's own
    parameters: tuple[int, int]  # ours and theirs, at full size
    logits: float
    features: float  # over all levels, maps and prefix tokens
    gradients: float  # over all parameters

    @property
    def passed(self):
        close = all(getattr(self, what) <= limit for what, limit in TOLERANCE.items())
        return close and self.parameters[0] == self.parameters[1]


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What a network makes of a batch: numbers to compare, named as ours."""

    logits: torch.Tensor
    taps: dict[str, Tap]
    gradients: dict[str, torch.Tensor]


def peers(name, config, num_classes=CLASSES):
    """Return what makes each live reference of a config."""
    return FAMILIES[models.index()[name]].peers(name, config, num_classes)


def referenced():
    """Name our models that have a live reference; the rest are ours alone, or have goldens."""
    return [name for name in models.index() if peers(name, models.config(name))]


def affordable(name):
    """Return the configuration at which a model is compared."""
    config = models.config(name)
    with torch.device("meta"):
        model = classifier(config.build(), CLASSES).eval()
        count = sum(parameter.numel() for parameter in model.parameters())
        with FlopCounterMode(display=False) as counter:
            model(images(config, 1).to("meta"))
    if count > FULL:
        return replace(config, depth=shallow(config.depth))
    if counter.get_total_flops() / 2 > WORK:
        return replace(config, image_size=halved(config))
    return config


def halved(config):
    """Return image sides about half as long, of whole patches."""
    patch = getattr(config, "patch_size", 1)
    patch = (
        patch if isinstance(patch, int) else 1
    )  # a pyramid's strides divide what it is halved to
    return tuple(side // 2 // patch * patch for side in config.image_size)


def shallow(depth):
    """Return two blocks; of stages, two each."""
    return tuple(min(d, 2) for d in depth) if isinstance(depth, tuple) else min(depth, 2)


def relative(found, wanted):
    """Return the largest difference as a share of the largest value; no number is far from all."""
    assert found.shape == wanted.shape
    if torch.equal(found, wanted):
        return 0.0
    share = ((found - wanted).abs().max() / wanted.abs().max()).item()
    return math.inf if math.isnan(share) else share


def errors(ours, theirs):
    """Compare two sights: every level that they show, every parameter of either in both."""
    assert theirs.taps and theirs.taps.keys() <= ours.taps.keys()
    assert ours.gradients.keys() == theirs.gradients.keys()
    pairs = [zip(ours.taps[name][:2], theirs.taps[name][:2], strict=True) for name in theirs.taps]
    slopes = [(ours.gradients[name], theirs.gradients[name]) for name in ours.gradients]
    floor = NOISE * max(wanted.abs().max().item() for _, wanted in slopes)
    return {
        "logits": relative(ours.logits, theirs.logits),
        "features": max(relative(*pair) for level in pairs for pair in level),
        "gradients": max(
            relative(*pair) for pair in slopes if max(t.abs().max() for t in pair) > floor
        ),
    }


def gradients(model, logits):
    """Return the gradients of a random combination of the logits; zeros where there is none."""
    generator = torch.Generator().manual_seed(1)
    (logits * torch.randn(logits.shape, generator=generator)).sum().backward()
    found = {
        name: torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        for name, parameter in model.named_parameters()
    }
    model.zero_grad()
    return found


def sight(model, batch):
    """Look at a batch with a classifier of ours."""
    names = [level.name for level in model.backbone.levels]
    with torch.no_grad():
        taps = model.backbone(batch, taps=names).taps
    logits = model(batch)
    return Sight(
        logits=logits.detach(),
        taps=dict(zip(names, taps, strict=True)),
        gradients=gradients(model, logits),
    )


def sight_of(peer, format_, batch, config=None):
    """Look at a batch with a reference."""
    logits, levels = peer.see(peer.model, batch)
    taps = {
        name: Tap(*(part.detach() for part in level[:2]))
        if isinstance(level, tuple)
        else Tap(level.detach(), level.new_empty(len(level), 0, level.shape[1]))
        for name, level in levels.items()
    }
    slopes = format_.load(gradients(peer.model, logits), config)
    return Sight(logits=logits.detach(), taps=taps, gradients=slopes)


def format_of(name, label):
    """Return a family's format of a name; a peer may bring one that no file is in."""
    if isinstance(label, Format):
        return label
    family = models.family(name)
    return next(f for f in family.FORMATS if f.name == label)


def loaded(name, config, label, weights):
    """Return a classifier of ours with the weights of another project."""
    model = classifier(config.build(), CLASSES).eval()
    fill(model, format_of(name, label).load(weights, config))
    return model


def check_two_ways(format_, weights, model, root):
    """Hold that what was loaded is written back, name by name and bit by bit."""
    back = format_.save(model.state_dict(), root=root, config=model.backbone.config)
    wanted = {n: t for n, t in weights.items() if n in back or not format_.ignores(n)}
    assert back.keys() == wanted.keys(), back.keys() ^ wanted.keys()
    wrong = [name for name, tensor in wanted.items() if not torch.equal(back[name], tensor)]
    assert not wrong, f"changed on the way there and back: {wrong}"


def compare(name, config) -> Iterator[Row]:
    """Run a model and its references, one after the other, and yield a row for each of them."""
    batch = images(config)
    for make in peers(name, config):
        torch.manual_seed(0)
        peer = make()
        perturbed(peer.model, name).eval()
        settled(peer, config)
        format_, weights = format_of(name, peer.format), peer.model.state_dict()
        ours = loaded(name, config, peer.format, weights)
        check_two_ways(format_, weights, ours, peer.root)
        theirs = sight_of(peer, format_, batch, config)
        found = errors(sight(ours, batch), theirs)
        run_at = changes(name, config)
        beyond = [what for what, limit in TOLERANCE.items() if found[what] > limit]
        if beyond:
            exact, own = in_double(ours, peer, format_, batch, theirs)
            for what in beyond:
                if what == "gradients" or own[what] > TOLERANCE[what] / 2:
                    found[what] = exact[what]
                    run_at += f", {what} in float64"
        yield Row(
            name=name,
            reference=peer.label,
            run_at=run_at,
            parameters=parameters(name, peer.label, config),
            **found,
        )


def in_double(ours, peer, format_, batch, single):
    """Compare in double precision; and the reference with itself, in single precision.

    Where an input of a ReLU lies within single precision of 0, the two may take either side of the
    kink, and whole gradients differ; in double precision they do not, unless the networks do.
    Values count in double precision only where the reference's own rounding is as large.
    """
    ours.double()
    peer.model.double().train().eval()  # nothing stays that was worked out in single precision
    batch, config = batch.double(), ours.backbone.config
    double = sight_of(peer, format_, batch, config)
    return errors(sight(ours, batch), double), errors(single, double)


def changes(name, config):
    """Say at which image size a config is compared, and what else of the name's own is changed."""
    own = models.config(name)
    size = "x".join(map(str, config.image_size))
    others = [f.name for f in fields(config) if f.name != "image_size"]
    changed = [f"{n} {getattr(config, n)}" for n in others if getattr(config, n) != getattr(own, n)]
    return ", ".join([size, *changed])


def parameters(name, label, config):
    """Count ours and a reference's parameters, without memory for them.

    At the full size of the name, or as compared where the reference has no such size.
    """
    for size in (models.config(name), config):
        found = counted(name, size)
        if label in found:
            return found[label]
    raise AssertionError(f"{label} has no {name}")


@cache
def counted(name, size):
    """Return the parameters of ours and theirs, by reference."""
    with torch.device("meta"):
        ours = classifier(size.build(), 1000)
        made = {peer.label: peer.model for peer in (make() for make in peers(name, size, 1000))}
    own, *others = (sum(p.numel() for p in model.parameters()) for model in (ours, *made.values()))
    return {label: (own, other) for label, other in zip(made, others, strict=True)}

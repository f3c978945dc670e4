"""Trained models by name."""

from dataclasses import replace
from pathlib import Path

from patchword import heads
from patchword.adaptation import put_under
from patchword.checkpoints import LOG, load
from patchword.config import dump, parse
from patchword.errors import ConfigError
from patchword.factory import Model, build, describe, design_of, regularised
from patchword.factory import create_model as fresh_model
from patchword.predictor import Card
from patchword.sources import choose


def create_model(
    name: str,
    *,
    pretrained: bool | str = False,
    backbone: str | None = None,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_chans: int | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    pretraining_head: bool = False,
) -> Model:
    """Make a model, with fresh weights or with trained ones.

    Args:
        name: one of `list_models()`, for trained weights perhaps with their tag, as in
            "vit_small_patch16_224.augreg_in1k"; or another library's model, as in "timm:NAME".
        pretrained: True for the weights that are known best; or a tag, a file, a folder or an id on
            the Hub. What had to be adapted, made new or left aside is logged. A head for every
            pixel is fresh, and the weights are its backbone's, unless a file or folder of the
            whole model is named.
        backbone: name of the model below a head for every pixel; the head's own if None.
        num_classes: scores per image or pixel; the weights' own, or the name's, if None.
        image_size: a side, or rows and columns, in pixels; the weights' or the name's own if None.
        in_chans: channels of an image; the weights' own, or 3, if None.
        drop_rate: dropout, from 0 to 1.
        drop_path_rate: stochastic depth of the last block, from 0 to 1.
        pretraining_head: use the two-layer head of pre-training, with fresh weights.

    Raises:
        ConfigError: no model has that name, a number is out of its range, or no weights are known.
        WeightsError: the weights cannot be had, or do not fit.
    """
    name, _, tag = (name, "", "") if ":" in name else name.partition(".")
    if not pretrained:
        if tag:
            raise ConfigError(f"{name}.{tag} names weights: say pretrained=True, or {name}")
        return fresh_model(
            name,
            backbone=backbone,
            num_classes=num_classes,
            image_size=image_size,
            in_chans=3 if in_chans is None else in_chans,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            pretraining_head=pretraining_head,
        )
    design_of(name, backbone)  # says what is wrong with a name before anything is fetched
    if pretraining_head:
        raise ConfigError("trained weights have a head of their own; leave pretraining_head out")
    if name in heads.index() and not (isinstance(pretrained, str) and Path(pretrained).exists()):
        card = describe(
            name,
            backbone=backbone,
            num_classes=num_classes,
            image_size=image_size,
            in_chans=3 if in_chans is None else in_chans,
        )
        made = on_trained(card, None if pretrained is True else pretrained)
        return dropping(made, drop_rate=drop_rate, drop_path_rate=drop_path_rate)
    source = choose(name, tag or (None if pretrained is True else pretrained))
    model = load(
        source, model=name, image_size=image_size, in_chans=in_chans, num_classes=num_classes
    )
    return dropping(model, drop_rate=drop_rate, drop_path_rate=drop_path_rate)


def on_trained(card: Card, pretrained: str | None) -> Model:
    """Put a fresh head on a trained backbone, and log what became of this one's tensors.

    Args:
        card: of the model.
        pretrained: which weights of the backbone; those that are known best if None.
    """
    assert card.backbone is not None
    below = load(choose(card.backbone, pretrained), model=card.backbone)
    made = build(card)
    for line in put_under(below, made).lines:
        LOG.warning("%s: %s", card.model, line)
    return made.eval()


def dropping(model: Model, *, drop_rate: float, drop_path_rate: float) -> Model:
    """Return a trained model with other dropout and stochastic depth."""
    assert model.card is not None
    settings = parse(type(model.backbone.config), model.card.config)
    settings = regularised(settings, drop_rate=drop_rate, drop_path_rate=drop_path_rate)
    made = build(replace(model.card, config=dump(settings)))
    made.load_state_dict(model.state_dict())
    return made

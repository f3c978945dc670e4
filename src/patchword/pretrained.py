"""Trained models by name."""

from dataclasses import replace

from patchword.checkpoints import load
from patchword.config import dump, parse
from patchword.errors import ConfigError
from patchword.factory import build, config, regularised
from patchword.factory import create_model as fresh_model
from patchword.heads.classify import Classifier
from patchword.sources import choose


def create_model(
    name: str,
    *,
    pretrained: bool | str = False,
    num_classes: int | None = None,
    image_size: int | tuple[int, int] | None = None,
    in_chans: int | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    pretraining_head: bool = False,
) -> Classifier:
    """Make a classifier, with fresh weights or with trained ones.

    Args:
        name: one of `list_models()`, for trained weights perhaps with their tag, as in
            "vit_small_patch16_224.augreg_in1k"; or another library's model, as in "timm:NAME".
        pretrained: True for the weights that are known best; or a tag, a file, a folder or an id on
            the Hub. What had to be adapted, made new or left aside is logged.
        num_classes: scores per image; the weights' own, or 1000, if None.
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
            num_classes=1000 if num_classes is None else num_classes,
            image_size=image_size,
            in_chans=3 if in_chans is None else in_chans,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
            pretraining_head=pretraining_head,
        )
    config(name)  # says what is wrong with a name before anything is fetched
    if pretraining_head:
        raise ConfigError("trained weights have a head of their own; leave pretraining_head out")
    source = choose(name, tag or (None if pretrained is True else pretrained))
    model = load(
        source, model=name, image_size=image_size, in_chans=in_chans, num_classes=num_classes
    )
    return dropping(model, drop_rate=drop_rate, drop_path_rate=drop_path_rate)


def dropping(model: Classifier, *, drop_rate: float, drop_path_rate: float) -> Classifier:
    """Return a trained model with other dropout and stochastic depth."""
    assert model.card is not None
    settings = parse(type(model.backbone.config), model.card.config)
    settings = regularised(settings, drop_rate=drop_rate, drop_path_rate=drop_path_rate)
    made = build(replace(model.card, config=dump(settings)))
    made.load_state_dict(model.state_dict())
    return made

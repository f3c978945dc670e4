"""DAT beside its authors' own code; tests/parity/test_plain_dat.py has its plain form."""

from collections.abc import Iterable
from functools import partial

from patchword.heads.classify import classifier
from patchword.layers import centres
from patchword.models.dat import FORMATS, DATConfig, Points
from patchword.weights import fill

SMALL = {
    "embed_dim": (8, 16),
    "depth": (2, 2),
    "num_heads": (2, 4),
    "mlp_ratio": 2.0,
    "mixers": ("LS", "LD"),
    "window_size": (4, 3),
    "num_groups": (1, 2),
    "kernel_size": (5, 3),
    "stride": (1, 1),
    "offset_range": (2.0, 2.0),
    "position": ("none", "relative"),
}
DAT = DATConfig(image_size=(48, 64), **SMALL)

TINY = {
    "dat": DAT,
    "strided": DATConfig(
        **{
            **SMALL,
            "image_size": (40, 64),  # no multiple of the windows
            "in_chans": 2,
            "stem_dim": 4,
            "overlap": True,
            "mixers": ("D", "SD"),
            "stride": (2, 1),
            "offset_range": (-1.0, 0.0),
            "position": ("convolution", "none"),
        }
    ),
}
FIXED = ()
QUICK = {}  # no library has it


def peers(name, config, num_classes):
    return []


def config(golden):
    """Return our config of the authors' arguments.

    Raises:
        NotImplementedError: they ask for what no published network of theirs has.
    """
    kwargs = golden.kwargs
    for odd in ("use_dwc_mlps", "no_offs", "fixed_pes"):
        value = kwargs.get(odd, False)
        if any(value) if isinstance(value, Iterable) else value:
            raise NotImplementedError(f"{golden.name} has {odd}")
    stages = len(kwargs["dims"])
    pairs = zip(kwargs["use_pes"], kwargs["dwc_pes"], strict=True)
    side = kwargs["img_size"]
    return DATConfig(
        image_size=(side, side),
        patch_size=kwargs["patch_size"],
        in_chans=golden.image.shape[1],
        stem_dim=kwargs["dim_stem"],
        overlap=kwargs.get("use_conv_patches", False),
        embed_dim=tuple(kwargs["dims"]),
        depth=tuple(kwargs["depths"]),
        num_heads=tuple(kwargs["heads"]),
        mlp_ratio=float(kwargs["expansion"]),
        mixers=tuple("".join(spec) for spec in kwargs["stage_spec"]),
        window_size=tuple(kwargs["window_sizes"]),
        num_groups=tuple(max(groups, 1) for groups in kwargs["groups"]),
        kernel_size=(9, 7, 5, 3)[:stages],
        stride=tuple(max(stride, 1) for stride in kwargs["strides"]),
        offset_range=tuple(map(float, kwargs["offset_range_factor"])),
        position=tuple(
            ("convolution" if conv else "relative") if use else "none" for use, conv in pairs
        ),
    )


def read(golden):
    """Answer with the logits, and with the points of each deformable block."""
    model = classifier(config(golden).build(), golden.kwargs["num_classes"]).eval()
    (format_,) = FORMATS
    fill(model, format_.load(golden.weights))
    answers = {}
    for name, part in model.named_modules():
        if isinstance(part, Points):
            _, _, stage, block, *_ = name.split(".")
            part.register_forward_hook(partial(keep, answers, f"s{stage}_l{block}"))
    answers["logits"] = model(golden.image)
    return answers


def keep(answers, at, _, __, points):
    """Note down a block's points, and the cells' centres from which they moved."""
    answers[f"positions_{at}"] = points
    answers[f"reference_{at}"] = centres(points.shape[2:4], points).expand_as(points)


GOLDENS = {"orig_dat_": read}

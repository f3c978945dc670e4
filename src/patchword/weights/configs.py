"""Other projects' configuration files, read and written: transformers' and timm's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from patchword.data.frame import Frame
from patchword.weights.settings import Setting, Values

KNOWN = {  # transformers' model types, and a model of the family that each is
    "beit": "beit_base_patch16_224",
    "bit": "resnetv2_50x1_bit",
    "clip": "vit_base_patch32_clip_quickgelu_224",
    "clip_vision_model": "vit_base_patch32_clip_quickgelu_224",
    "cvt": "cvt_13",
    "deit": "deit_base_patch16_224",
    "dinov2": "vit_base_patch14_dinov2",
    "dinov2_with_registers": "vit_base_patch14_reg4_dinov2",
    "levit": "levit_128",
    "pvt": "pvt_tiny",
    "pvt_v2": "pvt_v2_b0",
    "resnet": "resnet50",
    "segformer": "mit_b0",
    "swin": "swin_tiny_patch4_window7_224",
    "swinv2": "swinv2_tiny_window8_256",
    "vit": "vit_base_patch16_224",
}
RESAMPLING = {2: "bilinear", 3: "bicubic"}  # Pillow's numbers


@dataclass(frozen=True)
class Kind:
    """A class of theirs: one of our families, or a part of one.

    Attributes:
        model_type: as their file says it.
        architecture: the class's name.
        settings: what makes its network.
        unread: fields that do not change what the network answers.
        format: the family's name of its tensors' names; None where nothing is written so, as there
            is more in it, or less, than a model of ours.
        within: the field of their file that holds its settings; "" where they stand by themselves.
        count: the field that says how many classes there are, where no list of names does.
        defaults: of fields that their file may leave out.
    """

    model_type: str
    architecture: str
    settings: tuple[Setting, ...]
    unread: tuple[str, ...] = ()
    format: str | None = "transformers"
    within: str = ""
    count: str = "num_labels"
    defaults: Values = field(default_factory=dict[str, Any])

    def read(self, theirs: Values) -> dict[str, Any]:
        """Return our settings, as plain values.

        Raises:
            ConfigError: a field is missing, or has a value that our networks do not have.
        """
        theirs = {**self.defaults, **(theirs.get(self.within, {}) if self.within else theirs)}
        return {name: v for line in self.settings for name, v in line.read(theirs).items()}

    def write(self, ours: Values, classes: Sequence[str]) -> dict[str, Any]:
        """Return the content of their file.

        Args:
            ours: settings, as plain values.
            classes: their names.

        Raises:
            ConfigError: their network has no such setting.
        """
        return {
            "architectures": [self.architecture],
            "model_type": self.model_type,
            **{name: v for line in self.settings for name, v in line.write(ours).items()},
            "id2label": {str(i): name for i, name in enumerate(classes)},
            "label2id": {name: i for i, name in enumerate(classes)},
            "num_labels": len(classes),  # for PVT's, which takes 1000 otherwise
            self.count: len(classes),
        }


def from_timm(found: Mapping[str, Any], base: Frame) -> Frame:
    """Return the preprocessing that timm wrote beside a model's weights.

    Args:
        found: its `pretrained_cfg`.
        base: what it leaves out.
    """
    _, rows, columns = found.get("input_size", (3, *base.image_size))
    return replace(
        base,
        image_size=(rows, columns),
        mean=tuple(found.get("mean", base.mean)),
        std=tuple(found.get("std", base.std)),
        crop=found.get("crop_pct", base.crop),
        interpolation=found.get("interpolation", base.interpolation),
    )


def to_timm(model: str, preprocessing: Frame, names: tuple[str, ...]) -> dict[str, Any]:
    """Return what timm writes beside a model's weights."""
    p = preprocessing
    return {
        "architecture": model,
        "num_classes": len(names),
        "label_names": list(names),
        "model_args": {"img_size": list(p.image_size), "in_chans": len(p.mean)},
        "pretrained_cfg": {
            "input_size": [len(p.mean), *p.image_size],
            "interpolation": p.interpolation,
            "crop_pct": p.crop,
            "mean": list(p.mean),
            "std": list(p.std),
            "num_classes": len(names),
        },
    }


def preprocessor_from(found: Mapping[str, Any], base: Frame) -> Frame:
    """Return what transformers' `preprocessor_config.json` says; what it leaves out is `base`'s."""
    return replace(
        base,
        mean=tuple(found.get("image_mean", base.mean)),
        std=tuple(found.get("image_std", base.std)),
        crop=_crop(found),
        interpolation=RESAMPLING.get(found.get("resample", 2), "bicubic"),
    )


def image_size_of(found: Mapping[str, Any]) -> list[int] | None:
    """Return rows and columns of what a `preprocessor_config.json` makes, if it says them."""
    size = found.get("crop_size") if found.get("do_center_crop") else found.get("size")
    match size:
        case int():
            return [size, size]
        case {"height": int(rows), "width": int(columns)}:
            return [rows, columns]
        case {"shortest_edge": int(side)}:
            return [side, side]
        case _:
            return None


def _crop(found: Mapping[str, Any]) -> float:
    """Return the share of the resized picture that the crop keeps: all, if there is none."""
    kept, resized = image_size_of(found), image_size_of({"size": found.get("size")})
    if found.get("do_center_crop") and kept and resized:
        return min(1.0, kept[0] / resized[0])
    small = bool(kept) and min(kept) < 384  # larger ones ConvNeXt's processor resizes alone
    return found.get("crop_pct") or 1.0 if small else 1.0


def preprocessor_to(preprocessing: Frame) -> dict[str, Any]:
    """Return the preprocessing as transformers' `preprocessor_config.json`.

    A square one is theirs to the pixel; of others they resize the whole picture.
    """
    p = preprocessing
    rows, columns = p.image_size
    cropped = rows == columns and p.crop < 1
    size = {"height": rows, "width": columns}
    crop = {"do_center_crop": True, "crop_size": size} if cropped else {}
    return {
        "image_processor_type": "BitImageProcessor" if cropped else "ViTImageProcessor",
        "do_resize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "size": {"shortest_edge": int(rows / p.crop)} if cropped else size,
        **crop,
        "image_mean": list(p.mean),
        "image_std": list(p.std),
        "resample": next(n for n, name in RESAMPLING.items() if name == p.interpolation),
    }

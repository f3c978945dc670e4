"""A recipe is all that it takes to repeat a training but the data and the seed: it is a value."""

from dataclasses import dataclass, field
from math import inf
from typing import Any, Literal, TypeAlias

from patchword.data.augment import Augment, Mixing
from patchword.data.joint import Joint
from patchword.data.pseudo import PseudoLabels
from patchword.engine.optimizers import Optim
from patchword.engine.schedule import Schedule
from patchword.errors import ConfigError
from patchword.tasks.depth import DepthLoss
from patchword.tasks.detect import Detection
from patchword.tasks.distill import Distillation
from patchword.tasks.panoptic import BottomUp
from patchword.tasks.segment import Segmentation
from patchword.tasks.slots import SlotLoss

ClassLoss: TypeAlias = Literal["cross_entropy", "binary", "symmetric", "bootstrapping"]
PLAIN = {"class_weights": "none", "distillation": None}
UNFIT: dict[ClassLoss, dict[str, Any]] = {  # settings that do not go with a loss, when they are off
    "cross_entropy": {},
    "binary": {"smoothing": 0.0, **PLAIN},  # a class is there, or it is not
    "symmetric": PLAIN,  # targets are probabilities
    "bootstrapping": PLAIN,
}
OF_LABELS = {  # settings that have no meaning for scenes, when they are off
    **{"mixing": Mixing(), "augment": Augment(), "smoothing": 0.0, "sampling": "shuffled"},
    **{"class_weights": "none", "class_loss": "cross_entropy", "value_loss": "mse"},
    **{"resolution": (), "distillation": None, "pseudo_labels": None},
}


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a network is trained; what it is, and on what, is said elsewhere."""

    name: str
    epochs: float = 300.0  # passes over the training pictures
    steps: int | None = None  # optimizer steps, in the place of epochs
    image_size: tuple[int, int] | None = None  # rows, columns to train at; None: the model's
    resolution: tuple[tuple[float, int], ...] = ()
    """Sides in pixels that training pictures have from which share of the training on, as in
    ((0.0, 128), (0.5, 160), (0.8, 224)); (): the model's all the time."""
    batch_size: int = 1024  # pictures per optimizer step, over all devices
    accumulate: int = 1  # slices that a step's pictures are computed in, to save memory
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    augment: Augment = field(default_factory=Augment)
    mixing: Mixing = field(default_factory=Mixing)
    repeats: int = 1  # views of one picture in a batch (repeated augmentation)
    smoothing: float = 0.0  # share of every target that is spread over all classes
    drop_rate: float = 0.0  # dropout
    drop_path_rate: float = 0.0  # stochastic depth of the last block
    sampling: Literal["shuffled", "balanced"] = "shuffled"  # balanced: classes equally often
    class_weights: Literal["none", "balanced"] = "none"  # balanced: classes cost equally much
    class_loss: ClassLoss = "cross_entropy"  # binary: each class by itself; the rest: wrong labels
    value_loss: Literal["mse", "smooth_l1"] = "mse"  # of values, in deviations from their mean
    frozen: float | Literal["below_norm"] = 0.0
    """Share of the backbone's parts, the stem first, that stay as they are, or all but its last
    norm."""
    patience: int | None = None  # looks at the validation pictures, none the best, that end it
    average: float | None = None  # decay of the moving average of the weights
    distillation: Distillation | None = None  # what is learnt from a teacher; None: there is none
    pseudo_labels: PseudoLabels | None = None  # what of a teacher's labels of other pictures
    joint: Joint | None = None  # what is done to scenes, for trainings that learn place by place
    within: tuple[int, int] | Literal["auto"] | None = "auto"
    """Longer and shorter side that pictures of scenes are fitted into, before anything is done to
    them and ever after; null: they keep their size."""
    segmentation: Segmentation = field(default_factory=Segmentation)  # what classes of pixels cost
    depth: DepthLoss = field(default_factory=DepthLoss)  # what depths cost
    detection: Detection = field(default_factory=Detection)  # what objects cost
    bottom_up: BottomUp = field(default_factory=BottomUp)  # what segments cost, by their centres
    slots: SlotLoss = field(default_factory=SlotLoss)  # or by masks of slots

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "repeats"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; wanted: 1 or more")
        for name in ("smoothing", "drop_rate", "drop_path_rate", "average"):
            if not 0 <= (getattr(self, name) or 0) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; wanted: from 0 to below 1")
        slice_ = self.batch_size // self.accumulate
        if (self.mixing.mixup or self.mixing.cutmix) and slice_ % 2 and slice_ > 1:
            raise ConfigError(
                f"a batch of {self.batch_size} in {self.accumulate} slices cannot be mixed in "
                "pairs; make each slice even, or turn mixing off"
            )
        if self.patience is not None and self.patience < 1:
            raise ConfigError(f"patience is {self.patience}; wanted: 1 or more, or null")
        shares = [share for share, _ in self.resolution]
        if shares and (shares[0] or shares != sorted({*shares}) or shares[-1] >= 1):
            raise ConfigError(
                f"resolution is {self.resolution}; wanted: (share, side), the first share 0, each "
                "above the one before and below 1"
            )
        if self.steps is not None and self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; wanted: 1 or more, or null")
        if self.frozen != "below_norm" and not 0 <= self.frozen <= 1:
            raise ConfigError(f"frozen is {self.frozen}; wanted: from 0 to 1, or below_norm")
        self._fit_loss()
        self._fit_scenes()
        if not 0 < self.epochs < inf:
            raise ConfigError(f"epochs is {self.epochs}; wanted: a number above 0")

    def _fit_loss(self) -> None:
        """Refuse what the loss has no meaning for."""
        for name, off in UNFIT[self.class_loss].items():
            if getattr(self, name) != off:
                raise ConfigError(
                    f"class_loss={self.class_loss} does not go with it: leave {name} out, or take "
                    "class_loss=cross_entropy"
                )

    def _fit_scenes(self) -> None:
        """Refuse what has no meaning for scenes, in a recipe of those."""
        for name, off in OF_LABELS.items() if self.joint is not None else ():
            if getattr(self, name) != off:
                raise ConfigError(f"{name} is of whole pictures, and {self.name} learns places")

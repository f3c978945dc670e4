"""Does a teacher help a small transformer? DeiT's tables 2 and 3, at the size of two cores.

    python -m benchmarks.distillation [SETS] [--minutes 50] [--seeds 3] [--steps N]
        [--only cifar10] [--out runs/distillation]

On CIFAR-10 (JPEG q75): no teacher, soft (also at the paper's own share and temperature, to which
the paper compares hard answers), hard, hard with token from a convnet, hard with token from a
transformer; on Fashion-MNIST no teacher and hard with token; then the untaught student and the
best of the convnet's again after fine-tuning at a higher resolution. All students of a data set
take equally many steps, those that fit in four minutes of training without a teacher, measured
once. Patches, rates, augmentation, shares and temperatures of losses, the teacher's image size and
which student is the best are chosen in half the time, on a tenth of the training pictures that is
held out: the test pictures choose nothing.

Nothing else should run. Every cell is a run directory of `patchword train` in OUT: the same command
goes on where it was stopped or killed, and with --minutes it stops by itself after the cell that is
in progress then. What came out gathers in benchmarks/distillation.json, from which
docs/distillation.md is drawn, and is not trained again where OUT is gone, unless its weights are
needed. --only trains one data set's. --steps cuts every training short, to try the way through;
what comes out then stays in OUT.
"""

import argparse
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.cells import length, merged, sitting
from benchmarks.distillation_page import page

STUDENT_SECONDS = 240
TEACHER_MINUTES = 12
CALIBRATION = 60  # steps
TRIAL = {"minutes": 3}  # of each size of patches
HELD = 0.1  # share of the training pictures that choose
TUNING = 5  # steps of a training over those of its fine-tuning
METHODS = ("none", "soft", "soft, as written", "hard", "token", "token, transformer")
RATES = (1e-3, 2e-3, 5e-3, 1e-2)
TUNING_RATES = (3e-4, 1e-3, 3e-3)
MIXED = ("mixing.mixup=0.2", "mixing.cutmix=1.0", "smoothing=0.1")
SOFT = ((0.1, 3), (0.5, 3), (0.9, 3), (0.5, 1))  # lambda, tau; the first are the paper's
HARD = (0.5, 0.8)  # lambda; the first is the paper's
CONVNET = ("optim.name=sgd", "optim.lr=0.05", "optim.weight_decay=0.0005")  # as ResNets are trained
PLACES = (
    Path(__file__).with_name("distillation.json"),
    Path(__file__).parents[1] / "docs" / "distillation.md",
)


@dataclass(frozen=True)
class Field:
    """A data set, and the networks that learn it."""

    key: str
    name: str
    folder: str  # among the sets; "": one that is built in, by its key
    students: tuple[str, ...]  # of which one is chosen: the size of its patches
    side: int  # of the students' images, in pixels
    sides: tuple[int, ...]  # that the convnet may see its pictures at, in pixels
    larger: int = 0  # side that students are fine-tuned at; 0: they are not
    methods: tuple[str, ...] = METHODS
    convnet: str = "resnet18"


FIELDS = (
    Field(
        *("cifar10", "CIFAR-10 (JPEG q75)", "cifar10_jpeg"),
        *(("deit_mini_patch4_32", "deit_mini_patch8_64"), 32, (32, 64), 48),
    ),
    Field(
        *("fashion", "Fashion-MNIST", "fashion_mnist"),
        *(("deit_mini_patch4_28", "deit_mini_patch7_28"), 28, (28,)),
        methods=("none", "token"),
    ),
)


class Ground:
    """A data set's part of the study."""

    def __init__(self, study, where, sets):
        self.study, self.where = study, where
        self.data = str(sets / where.folder) if where.folder else where.key
        self.bests = {}  # held-out accuracy of what was chosen, by what it is

    def cell(self, name, *parts):
        return self.study.cell(f"{self.where.key}/{name}", self.data, {"workers": 0}, *parts)

    def path(self, name):
        return self.study.path(f"{self.where.key}/{name}")

    def choose(self, what, options, *parts):
        """Return the words of the best option, and the run that showed it."""
        held = {"holdout": HELD, "workers": 0}
        best = self.study.choose(self.where.key, what, options, self.data, held, *parts)
        self.bests[what] = max(self.study.choices[-1]["scores"].values())
        return options[best], self.path(f"choose/{what}/{best}")

    def calibrated(self):
        """Return the student's words, and the steps that fit in its time; measured once."""
        side = {"image_size": self.where.side}
        options = {name: {"model": name, **side} for name in self.where.students}
        words = options[self.where.students[0]]
        if len(options) > 1:  # in equal time, as fewer patches are seen sooner
            steps = self.study.steps
            words, _ = self.choose("patches", options, length(steps) if steps else TRIAL)
        found = self.cell("calibrate", words, length(CALIBRATION))
        steps = round(STUDENT_SECONDS * found["pace"] / found["batch_size"])
        return {**words, "precision": found["precision"]}, self.study.steps or steps

    def teaching(self, share=1.0):
        """Return the words for the length of a teacher's training, or for a share of it."""
        if self.study.steps:
            return length(self.study.steps)
        return {"minutes": share * TEACHER_MINUTES}

    def taught_by(self, method):
        """Return the words that name a method's teacher."""
        kind = "transformer" if method.endswith("transformer") else "convnet"
        return {} if method == "none" else {"teacher": self.path(f"teachers/{kind}")}


def settled(ground, student, steps):
    """Choose all that is left open; return the student's words, the convnet's, each method's."""
    where = ground.where
    short = length(ground.study.steps or max(steps // 2, 1))
    rates = {f"{rate:g}": {"lr": rate} for rate in RATES}
    student = merged(student, ground.choose("rate", rates, student, short)[0])
    views = {"as picked": {}, "mixed": {"settings": MIXED}}
    words, untaught = ground.choose("augmentation", views, student, short)
    student = merged(student, words)
    sides = {f"{side} pixels": {"image_size": side} for side in where.sides}
    convnet = {"model": where.convnet, "settings": CONVNET}
    words, teacher = ground.choose("convnet", sides, convnet, ground.teaching(1 / 2))
    convnet = merged(convnet, words, ground.teaching())
    soft = {
        f"lambda {share}, tau {tau}": {
            "distill": "soft",
            "settings": [f"distillation.weight={share}", f"distillation.temperature={tau}"],
        }
        for share, tau in SOFT
    }
    hard = {
        f"lambda {share}": {"distill": "hard", "settings": [f"distillation.weight={share}"]}
        for share in HARD
    }
    tokens = {name: merged(words, {"token": True}) for name, words in hard.items()}
    taught = merged(student, short, {"teacher": teacher})
    methods = {"none": {}}
    for method, options in (("soft", soft), ("hard", hard), ("token", tokens)):
        if method in where.methods:
            methods[method] = ground.choose(method, options, taught)[0]
    methods["soft, as written"] = next(iter(soft.values()))
    return student, convnet, methods | {"token, transformer": methods["token"]}, untaught


def tuned(ground, precision, methods, untaught, steps):
    """Choose the rate of fine-tuning at a higher resolution, and fine-tune two students."""
    where, few = ground.where, length(ground.study.steps or max(steps // TUNING, 1))
    rates = {f"{rate:g}": {"lr": rate} for rate in TUNING_RATES}
    larger = merged({"image_size": where.larger, "precision": precision}, few)
    rate, _ = ground.choose("fine-tuning", rates, larger, {"init": untaught})
    taught = [method for method in where.methods if method in ground.bests]
    best = max(taught, key=ground.bests.get)
    for seed in range(ground.study.seeds):
        for method in ("none", best):
            start = {"init": ground.path(f"{method}/{seed}"), "seed": seed}
            lesson = merged(methods[method], ground.taught_by(method))
            ground.cell(f"{method}/{seed}, {where.larger} pixels", larger, rate, start, lesson)


def everything(study, given):
    """Train every cell, or as many as there is time for."""
    for where in [where for where in FIELDS if given.only in (None, where.key)]:
        ground = Ground(study, where, given.sets)
        plain, steps = ground.calibrated()
        student, convnet, methods, untaught = settled(ground, plain, steps)
        ground.cell("teachers/convnet", convnet)
        if "token, transformer" in where.methods:
            ground.cell("teachers/transformer", student, ground.teaching())
        for seed in range(study.seeds):
            for method in where.methods:
                lesson = merged(methods[method], ground.taught_by(method))
                ground.cell(f"{method}/{seed}", student, length(steps), lesson, {"seed": seed})
        if where.larger:
            tuned(ground, plain["precision"], methods, untaught, steps)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", type=Path, nargs="?", default=Path("../shared/sets"))
    parser.add_argument("--out", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--only", choices=[where.key for where in FIELDS])
    about = {
        "student_seconds": STUDENT_SECONDS,
        "teacher_minutes": TEACHER_MINUTES,
        "held": HELD,
        "fields": [asdict(where) for where in FIELDS],
    }
    groups = {where.key for where in FIELDS}
    return sitting(parser, words, everything, page, about, groups, PLACES)


if __name__ == "__main__":
    sys.exit(main())

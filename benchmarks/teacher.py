"""What a teacher costs: in the loop, against asked once.

    python -m benchmarks.teacher DATA --teacher SOURCE [--model NAME] [--distill soft] [--token]
        [--epochs 3] [--steps N] [--out FOLDER] [--page]

The same training four times, from the same weights: without a teacher; with the teacher in the
loop, which is what timm's distillation tasks do (a forward pass without gradients in every step);
asked once, while it is asked; and again, when all answers are there. An epoch of one follows an
epoch of the other, and nothing else should run. Every answer is compared with the loop's. --steps
cuts the epochs short. The table is written to OUT/table.md, and with --page to docs/teacher.md. A
teacher and the figures of that page, in some five minutes on two cores:

    patchword train ../shared/sets/fashion_mnist --model resnet18 --image-size 28 --minutes 2 \\
        --lr 0.001 --out runs/convnet
    python -m benchmarks.teacher ../shared/sets/fashion_mnist --teacher runs/convnet \\
        --model deit_mini_patch7_28 --token --epochs 5 --steps 60 --page
"""

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch

from patchword.engine.devices import threads
from patchword.engine.loop import step
from patchword.training.choose import choose, in_memory
from patchword.training.make import make_feed, make_plan, make_state
from patchword.training.settings import Request
from patchword.training.settle import settle
from tests.parity.page import measured

PAGE = Path(__file__).parents[1] / "docs" / "teacher.md"
TITLE = "# What a teacher costs\n\nMade by `python -m benchmarks.teacher`. "
HEAD = "| teacher | seconds per epoch | times no teacher | answers equal to the loop's |\n"
RULE = "| --- | ---: | ---: | ---: |\n"


class Course:
    """One of the trainings, an epoch at a time."""

    def __init__(self, chosen, settings):
        self.state, self.plan = make_state(chosen, settings), make_plan(settings)
        self.batches = make_feed(chosen, settings)(0)
        self.settings, self.answers, self.seconds = settings, [], []

    def epoch(self, steps):
        start = time.perf_counter()
        for _ in range(steps):
            batch = next(self.batches)
            step(self.state, batch, self.plan)
            if self.settings.recipe.distillation is not None:
                self.answers += [part.answers for part in batch]
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - start)


def courses(request, home):
    """Return what is compared, by name; `again` is opened when the answers are there."""
    chosen = choose(replace(request, cache=str(home)))
    chosen = replace(chosen, data=in_memory(chosen.data))
    settings = settle(replace(request, cache=str(home)), chosen, time.perf_counter())
    how = settings.recipe.distillation

    def course(how, teacher=chosen.teacher):
        recipe = replace(settings.recipe, distillation=how)
        return Course(replace(chosen, teacher=teacher), replace(settings, recipe=recipe))

    return settings, {
        "none": lambda: course(None, None),
        "in the loop": lambda: course(replace(how, keep=False)),
        "asked once, first run": lambda: course(how),
        "asked once, second run": lambda: course(how),
    }


def same(answers, loop):
    """Say how many of the pictures' answers are the same, bit for bit."""
    pairs = [(a == b).reshape(len(a), -1).all(1) for a, b in zip(answers, loop, strict=True)]
    equal = torch.cat(pairs)
    return f"{int(equal.sum()):,} of {len(equal):,}"


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--model")
    parser.add_argument("--distill", choices=("hard", "soft"), default="hard")
    parser.add_argument("--token", action="store_true")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--out", type=Path, default=Path("runs/teacher"))
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args(words)
    request = Request(
        data=given.data,
        model=given.model,
        teacher=given.teacher,
        distill=given.distill,
        token=given.token,
        epochs=float(given.epochs),
        precision=given.precision,
    )
    with tempfile.TemporaryDirectory() as home:
        settings, makes = courses(request, Path(home))
        steps = given.steps or settings.steps_per_epoch
        second = makes.pop("asked once, second run")
        running = {name: make() for name, make in makes.items()}
        with threads(settings.threads):
            for _ in range(given.epochs):
                for course in running.values():
                    course.epoch(steps)
            running["asked once, second run"], again = second(), makes["none"]()
            for _ in range(given.epochs):
                again.epoch(steps)
                running["asked once, second run"].epoch(steps)
    none, loop = running["none"], running["in the loop"].answers
    what = f"{given.data}, {settings.request.model or 'the model picked'}, teacher {given.teacher}"
    lines = [f"{what}, {given.distill}, {steps} steps of {settings.recipe.batch_size} an epoch; "]
    lines += [f"{measured()}\n\n", HEAD, RULE]
    for name, course in running.items():
        beside = again if name.endswith("second run") else none  # the one it took turns with
        seconds, share = median(course.seconds), ""
        if course.answers:
            share = same(course.answers, loop)
        ratio = seconds / median(beside.seconds)
        lines.append(f"| {name} | {seconds:.2f} | {ratio:.3f} | {share} |\n")
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "table.md").write_text("".join(lines), encoding="utf-8")
    if given.page:
        PAGE.write_text(TITLE + "".join(lines), encoding="utf-8")
    print("".join(lines))


if __name__ == "__main__":
    main()

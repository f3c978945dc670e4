"""One training, from a request to a finished run directory; or the rest of one."""

import json
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from patchword.checkpoints import load
from patchword.config import dump, parse, read_json
from patchword.engine.devices import device
from patchword.engine.loop import Plan, fit
from patchword.engine.average import Average
from patchword.engine.optimizers import optimizer
from patchword.engine.run import Run
from patchword.engine.state import State
from patchword.errors import RunError
from patchword.evaluation.topk import TopK, topk
from patchword.factory import adapt, build
from patchword.files import write_text
from patchword.heads.classify import Classifier
from patchword.predictor import Card
from patchword.tasks.classify import Classify
from patchword.training import measure
from patchword.training.choose import Chosen, choose, in_memory
from patchword.training.feed import Feed, scores
from patchword.training.report import report
from patchword.training.screen import Progress, first_screen, table
from patchword.training.settings import Request, Settings, same, stored
from patchword.weights.files import read_with_notes, write

Say = Callable[[str], None]


def train(request: Request, out: Path, *, began: float, say: Say = print) -> Path:
    """Train what is asked for, or go on where the run directory got to.

    Args:
        request: the settings that were given.
        out: the run directory.
        began: when the command did, by `time.perf_counter`.
        say: prints a line.

    Raises:
        RunError: the directory holds something else, or other pictures are there now.
        Stopped: the user asked for it; everything is saved.
    """
    found = stored(out)
    if found is not None:
        same(found, request, out)
        if (out / "model.safetensors").exists() and (out / "report.html").exists():
            say(f"{out} is finished; name another --out to train again")
            return out
    elif out.exists() and any(out.iterdir()):
        raise RunError(f"{out} is not empty and holds no run; name another --out")
    chosen = choose(request)
    chosen = replace(chosen, data=in_memory(chosen.data))
    settings = found or settle(request, chosen, began)
    if settings.fingerprint != chosen.data.train.fingerprint():
        raise RunError(f"the training pictures of {out} are others now; name another --out")
    card = _card(out) if found else begin(out, chosen, settings)
    Job(out, replace(chosen, card=card), settings, say).run()
    return out


def settle(request: Request, chosen: Chosen, began: float) -> Settings:
    """Measure what a request leaves to the machine, and return all that the training runs by."""
    where = device(request.device)
    draft = Settings(
        request=request,
        recipe=chosen.recipe,
        precision="bf16" if request.precision == "bf16" else "fp32",
        device=str(where),
        threads=torch.get_num_threads(),
        workers=chosen.workers,
        steps=1,
        steps_per_epoch=1,
        log=1,
        evaluate=1,
        fingerprint=chosen.data.train.fingerprint(),
        reasons=chosen.reasons,
    )
    feed = make_feed(chosen, draft)
    per_epoch, batch = feed.batches.steps_per_epoch, feed.batches.batch_size
    draft = replace(
        draft, steps_per_epoch=per_epoch, recipe=replace(chosen.recipe, batch_size=batch)
    )
    make, reasons = partial(make_state, chosen.card, draft), list(draft.reasons)
    plan = make_plan(replace(draft, steps=1000))
    if request.precision == "auto":
        times = measure.precision(make, feed, plan)
        best = min(times, key=lambda kind: times[kind])
        draft = replace(draft, precision=best)
        spent = ", ".join(f"{kind} {1000 * t:.0f} ms" for kind, t in times.items())
        reasons.append(f"precision {best}, measured per step: {spent}")
    if request.minutes is None:
        steps = max(1, round(chosen.recipe.epochs * per_epoch))
    else:
        per_step = measure.pace(make, feed, make_plan(replace(draft, steps=1000)))
        looks = evaluation_seconds(make(), chosen, steps_guess=60 * request.minutes / per_step)
        spent_seconds = time.perf_counter() - began
        steps = measure.fitting(request.minutes, spent_seconds, looks, per_step)
        reasons.append(f"{1000 * per_step:.1f} ms per step measured, so {steps:,} steps fit")
    log = max(1, steps // 100)
    between = max(1, round(max(per_epoch, steps / 10) / log)) * log
    return replace(draft, steps=steps, log=log, evaluate=between, reasons=tuple(reasons))


def evaluation_seconds(state: State, chosen: Chosen, *, steps_guess: float) -> float:
    """Estimate the time of all looks at held-out pictures, from one look at a few of them."""
    model = state.task.model if isinstance(state.task, Classify) else state.task
    data = chosen.data
    sample = data.validation or data.test or data.train
    from patchword.data import Subset
    import numpy as np

    few = Subset(sample, np.arange(min(512, len(sample))))
    start = time.perf_counter()
    scores(model.eval(), few, chosen.card.preprocessing)
    each = (time.perf_counter() - start) / len(few)
    looks = 11 * len(data.validation or ()) + len(data.test or ()) + 32
    return each * looks


def make_feed(chosen: Chosen, settings: Settings) -> Feed:
    """Make the training batches."""
    return Feed(
        chosen.data.train,
        settings.recipe,
        chosen.card.preprocessing,
        seed=settings.request.seed,
        workers=settings.workers,
        device=torch.device(settings.device),
    )


def make_plan(settings: Settings) -> Plan:
    """Return the loop's part of the settings."""
    recipe = settings.recipe
    return Plan(
        steps=settings.steps,
        batch_size=recipe.batch_size,
        warmup=recipe.schedule.warmup(settings.steps, settings.steps_per_epoch),
        schedule=recipe.schedule,
        clip=recipe.optim.clip,
        seed=settings.request.seed,
        precision=settings.precision,
        log=settings.log,
        evaluate=settings.evaluate,
    )


def make_state(card: Card, settings: Settings) -> State:
    """Make network, optimizer and average as they are before the first step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.request.seed)
        model = build(card)
        if settings.request.init is not None:
            model = start_from(settings.request.init, model, card)
    task = Classify(model.to(settings.device))
    recipe = settings.recipe
    made = optimizer(recipe.optim, task, model.backbone.spine(), recipe.batch_size)
    average = None if recipe.average is None else Average(task, recipe.average)
    if settings.request.compile:
        task.compile()
    return State(task, made, average)


def start_from(source: str, model: Classifier, card: Card) -> Classifier:
    """Take over a trained model's weights, adapted to the images and classes of this one."""
    trained, _ = adapt(
        load(source), image_size=card.preprocessing.image_size, num_classes=card.num_classes
    )
    model.load_state_dict(trained.state_dict())
    return model


def begin(out: Path, chosen: Chosen, settings: Settings) -> Card:
    """Start a run directory: all that it takes to run it again, before anything is trained."""
    card = replace(chosen.card, provenance=provenance(chosen, settings))
    out.mkdir(parents=True, exist_ok=True)
    everything = {**dump(card), "settings": dump(settings)}
    write_text(out / "environment.json", json.dumps(environment(), indent=2) + "\n")
    write_text(out / "config.json", json.dumps(everything, indent=2) + "\n")
    return card


def _card(out: Path) -> Card:
    found = read_json(out / "config.json")
    return parse(Card, {k: v for k, v in found.items() if k != "settings"}, where=str(out))


def provenance(chosen: Chosen, settings: Settings) -> dict[str, Any]:
    """Say where a model comes from."""
    return {
        "patchword": version("patchword"),
        "data": chosen.data.name,
        "pictures": len(chosen.data.train),
        "fingerprint": settings.fingerprint,
        "recipe": settings.recipe.name,
        "init": settings.request.init,
    }


def environment() -> dict[str, Any]:
    """Describe machine, libraries and command."""
    libraries = ("torch", "torchvision", "numpy", "pillow")
    return {
        "command": sys.argv,
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "libraries": {name: version(name) for name in libraries},
    }


def processor() -> str:
    """Return the processor's name, and the vector instructions that torch uses on it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


class Job:
    """The training itself, and what is made of it at the end."""

    def __init__(self, out: Path, chosen: Chosen, settings: Settings, say: Say) -> None:
        self.out, self.chosen, self.settings, self.say = out, chosen, settings, say
        self.data, self.card = chosen.data, chosen.card

    def run(self) -> None:
        """Train to the end, evaluate once, write the model and the report."""
        settings = self.settings
        state = make_state(self.card, settings)
        feed = make_feed(self.chosen, settings)
        parameters = sum(p.numel() for p in state.task.parameters())
        for line in first_screen(self.chosen, settings, parameters, str(self.out)):
            self.say(line)
        model: Classifier = state.task.model  # pyright: ignore  # it is a Classify
        validate = partial(self.validate, model) if self.data.validation else None
        with signals() as stop, torch.random.fork_rng(devices=[]):
            fit(
                state,
                feed,
                make_plan(settings),
                Run(self.out),
                evaluate=validate,
                watch=Progress(settings.steps),
                stop=stop,
            )
        self.finish(state, model, feed)

    def validate(self, model: Classifier) -> Mapping[str, float]:
        """Score the validation pictures."""
        assert self.data.validation is not None
        logits, labels, _ = scores(model, self.data.validation, self.card.preprocessing)
        found = topk(logits, labels)
        return {"score": found.top1, "top1": found.top1, "validation_loss": found.loss}

    def finish(self, state: State, model: Classifier, feed: Feed) -> None:
        """Keep the best weights, evaluate them and write everything down."""
        run = Run(self.out)
        tensors = read_with_notes(run.best_file)[0] if run.best_file.exists() else state.weights()
        state.task.load_state_dict(tensors)
        model.card = self.card
        model.eval()
        splits = {"validation": self.data.validation, "test": self.data.test}
        found: dict[str, TopK] = {}
        answers: dict[str, Any] = {}
        for name, source in splits.items():
            if source is not None:
                answers[name] = scores(model, source, self.card.preprocessing)
                found[name] = topk(answers[name][0], answers[name][1])
        write_text(self.out / "scores.json", json.dumps(summary(found), indent=2) + "\n")
        report(self.out, model, self.chosen, self.settings, answers)
        write(self.out / "model.safetensors", model.state_dict())
        if found:
            table(found)
        for line in feed.complaints():
            self.say(f"skipped   {line}")
        self.say(f"report    {self.out / 'report.html'}")
        self.say(f"use it    patchword predict {self.out} PICTURE...")


def summary(found: Mapping[str, TopK]) -> dict[str, Any]:
    """Return scores as plain values."""
    return {
        name: {
            "count": scored.count,
            "top1": scored.top1,
            "top5": scored.top5,
            "interval": list(scored.interval),
            "loss": scored.loss,
        }
        for name, scored in found.items()
    }


@contextmanager
def signals() -> Iterator[Callable[[], bool]]:
    """Turn the first interrupt or request to end into a stop after the current step."""
    asked: list[int] = []

    def note(number: int, frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        before = {n: signal.signal(n, note) for n in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread
        yield lambda: False
        return
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

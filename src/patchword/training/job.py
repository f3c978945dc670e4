"""One training, from a request to a finished run directory; or the rest of one."""

import json
import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from patchword import evaluation
from patchword.config import dump, parse, read_json
from patchword.engine.devices import threads
from patchword.engine.loop import fit
from patchword.engine.run import Run
from patchword.engine.state import State
from patchword.errors import RunError
from patchword.evaluation.protocol import Finding, Judged, Subject
from patchword.factory import Model
from patchword.files import write_text
from patchword.predictor import Card
from patchword.training.answers import Asked
from patchword.training.choose import Chosen, choose, in_memory
from patchword.training.feed import Feed, Steps
from patchword.training.lesson import Lesson, facts, lesson
from patchword.training.make import make_feed, make_plan, make_state
from patchword.training.objectives import Objective
from patchword.training.origin import environment, provenance
from patchword.training.pseudo import FILE
from patchword.training.report import report
from patchword.training.screen import Progress, first_screen, scores_table
from patchword.training.settings import Request, Settings, same, stored
from patchword.training.settle import settle
from patchword.training.subjects import subject_of
from patchword.training.worded import summary
from patchword.weights.files import read_with_notes, write

Say = Callable[[str], None]
BEGINNINGS = (
    *("environment.json", ".environment.json.part", ".config.json.part"),
    *(FILE, f".{FILE}.part"),
)
"""What a command that was killed at once leaves behind: there is no run yet."""


def show(line: str) -> None:
    """Print a line at once, to a file or a pipe too: what follows takes its time."""
    print(line, flush=True)


def train(
    request: Request,
    out: Path,
    *,
    began: float,
    before: Settings | None = None,
    say: Say = show,
) -> Path:
    """Train what is asked for, or go on where the run directory got to.

    Args:
        request: the settings that were given.
        out: the run directory.
        began: when the command did, by `time.perf_counter`.
        before: the settings of a run that this one repeats.
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
    elif out.exists() and any(path.name not in BEGINNINGS for path in out.iterdir()):
        raise RunError(f"{out} is not empty and holds no run; name another --out")
    chosen = choose(request)
    chosen = replace(chosen, data=in_memory(chosen.data))
    settings = found or before or settle(request, chosen, began)
    if settings.fingerprint != chosen.data.train.fingerprint():
        raise RunError(f"the training pictures of {out} are others now; name another --out")
    if settings.teacher != (chosen.teacher and chosen.teacher.digest):
        raise RunError(f"the teacher of {out} is another now; name another --out")
    teaching(make_feed(chosen, settings), settings)  # there may be no room: nothing is begun then
    card = stored_card(out) if found else begin(out, chosen, settings)
    Job(out, replace(chosen, card=card), settings, say).run()
    return out


def begin(out: Path, chosen: Chosen, settings: Settings) -> Card:
    """Start a run directory: all that it takes to run it again, before anything is trained."""
    card = replace(chosen.card, provenance=provenance(chosen, settings))
    out.mkdir(parents=True, exist_ok=True)
    everything = {**dump(card), "settings": dump(settings)}
    if chosen.labelled is not None:
        write_text(out / FILE, chosen.labelled.table())
    write_text(out / "environment.json", json.dumps(environment(), indent=2) + "\n")
    write_text(out / "config.json", json.dumps(everything, indent=2) + "\n")
    return card


def stored_card(out: Path) -> Card:
    """Read the card that a run began with."""
    found = read_json(out / "config.json")
    return parse(Card, {k: v for k, v in found.items() if k != "settings"}, where=str(out))


def teaching(feed: Steps[Any], settings: Settings) -> list[str]:
    """Say what a teacher will be asked, where there is one.

    Raises:
        RunError: there is no room for what it says.
    """
    asked = feed.ask if isinstance(feed, Feed) else None
    return [f"teacher   {asked.words(settings.steps)}"] if isinstance(asked, Asked) else []


class Job:
    """The training itself, and what is made of it at the end."""

    def __init__(self, out: Path, chosen: Chosen, settings: Settings, say: Say) -> None:
        self.out, self.chosen, self.settings, self.say = out, chosen, settings, say
        self.data, self.card = chosen.data, chosen.card
        self.measure = evaluation.named(evaluation.OWN[chosen.card.kind])

    def run(self) -> None:
        """Train to the end, evaluate once, write the model and the report."""
        settings = self.settings
        state = make_state(self.chosen, settings)
        feed = make_feed(self.chosen, settings)
        parameters = sum(p.numel() for p in state.task.parameters())
        for line in first_screen(self.chosen, settings, parameters, str(self.out)):
            self.say(line)
        for line in teaching(feed, settings):
            self.say(line)
        model = state.task.model
        validate = partial(self.validate, model) if self.data.validation else None
        with signals() as stop, torch.random.fork_rng(devices=[]), threads(settings.threads):
            fit(
                state,
                feed,
                make_plan(settings),
                Run(self.out),
                evaluate=validate,
                watch=Progress(settings.steps),
                stop=stop,
            )
        if state.step < settings.steps:
            self.say(f"stopped   at step {state.step:,}: no better score in {state.stale} looks")
        self.finish(state, model, feed)

    def judged(self) -> dict[str, Judged]:
        """Return the held-out pictures by split."""
        splits = {"validation": self.data.validation, "test": self.data.test}
        return {
            name: Judged(name=self.data.name, test=source, split=name, train=self.data.train)
            for name, source in splits.items()
            if source is not None
        }

    def validate(self, model: Model) -> Mapping[str, float]:
        """Score the validation pictures."""
        found = self.measure(subject_of(model, self.card), self.judged()["validation"])
        main = found.scores[0]
        row = {"score": main.value, main.key: main.value}
        loss = [score.value for score in found.scores if score.name == "loss"]
        return {**row, "validation_loss": loss[0]} if loss else row

    def finish(self, state: State[Objective], model: Model, feed: Steps[Any]) -> None:
        """Keep the best weights, evaluate them and write everything down."""
        run = Run(self.out)
        tensors = read_with_notes(run.best_file)[0] if run.best_file.exists() else state.weights()
        state.task.load_state_dict(tensors)
        model.card = self.card
        subject = subject_of(model, self.card)
        found, lessons = list[Finding](), dict[str, Lesson]()
        for name, data in self.judged().items():
            found.append(self.measure(subject, data))
            if isinstance(subject, Subject):
                lessons[name] = lesson(self.measure, subject, data, self.chosen, self.settings)
        further = {name: lesson.plain() for name, lesson in lessons.items()}
        scores = {f.split: {**summary(f), **further.get(f.split, {})} for f in found}
        write_text(self.out / "scores.json", json.dumps(scores, indent=2) + "\n")
        taught = facts(lessons, self.chosen, self.settings)
        report(self.out, subject, self.chosen, self.settings, found, further=taught)
        write(self.out / "model.safetensors", model.state_dict())
        if found:
            scores_table(found)
        for line in (*feed.complaints(), *(why for f in found for why in f.unreadable)):
            self.say(f"skipped   {line}")
        self.say(f"report    {self.out / 'report.html'}")
        self.say(f"use it    patchword predict {self.out} PICTURE...")


@contextmanager
def signals() -> Generator[Callable[[], bool]]:
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

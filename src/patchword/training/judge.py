"""One evaluation: a model, a protocol and data sets; what came out is kept beside the model."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from math import isnan
from pathlib import Path
from typing import Any

import torch

from patchword import evaluation
from patchword.checkpoints import load
from patchword.config import changed, dump, read_json
from patchword.data import Data, look_at, open_data, said
from patchword.data.scenes import KINDS
from patchword.data.source import Joined
from patchword.engine.devices import device as named_device
from patchword.errors import ConfigError, DataError
from patchword.evaluation.answers import KNOWN
from patchword.evaluation.protocol import Evaluation, Finding, Judged, Protocol, means
from patchword.files import write_text
from patchword.predictor import Card
from patchword.training.choose import held_out, left_out
from patchword.training.judged import page
from patchword.training.origin import environment
from patchword.training.settings import stored
from patchword.training.subjects import subject_of
from patchword.training.tuned import tuned

KEPT = "evaluation.json"


def evaluate(
    run: Path,
    places: Sequence[str],
    *,
    protocol: str,
    settings: Sequence[str],
    split: str,
    device: str,
    out: Path | None,
) -> Evaluation:
    """Judge a model by a protocol on each data set, and write down what came out.

    Raises:
        ConfigError: a name or a setting is not known, or there is no data.
        DataError: the data does not have what the protocol needs.
    """
    model = load(run).to(named_device(device))
    card = model.card
    assert card is not None
    protocol = evaluation.OWN[card.kind] if protocol == "auto" else protocol
    rules = changed(evaluation.named(protocol), settings)
    with torch.random.fork_rng(devices=[]):
        judged = list(sets(run, places, card, split))
        for data in judged:
            suited(data, protocol, rules, card)
        subject = subject_of(model, card, progress, tuned)
        findings = tuple(finding(rules(subject, data), data) for data in judged)
    progress("")
    found = Evaluation(
        protocol=protocol,
        settings=rules,
        model=card.model,
        findings=findings,
        means=means(findings),
    )
    where = out or (run if stored_run(run) else None)
    if where is not None:
        keep(where, found, judged)
    return found


def suited(data: Judged, name: str, protocol: Protocol, card: Card) -> None:
    """Make sure that a protocol can judge a model on a data set.

    Raises:
        DataError: it wants something else of the pictures.
        ConfigError: it wants another kind of model.
    """
    if (card.kind in KINDS) != any(kind in KINDS for kind in protocol.wants):
        raise ConfigError(
            f"{name} does not judge what {card.model} answers, {KNOWN[card.kind]} of each picture; "
            f"leave --protocol out, or name {evaluation.OWN[card.kind]}"
        )
    if data.test.kind not in protocol.wants:
        raise DataError(
            f"{data.name} has {KNOWN[data.test.kind]} of each picture; {name} wants "
            f"{' or '.join(KNOWN[kind] for kind in protocol.wants)}"
        )


def finding(found: Finding, data: Judged) -> Finding:
    """Say of a finding what it was found on, and what the pixel contract did to the pictures."""
    notes = (*found.notes, *said(data.split, look_at(data.test)))
    return replace(found, group=data.group, notes=notes)


def progress(line: str) -> None:
    """Show what a long evaluation is at, in one line that refreshes, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{line}", end="", file=sys.stderr, flush=True)


def stored_run(run: Path) -> bool:
    """Tell whether a model is a finished run of ours, in which more may be written."""
    return (run / "config.json").exists() and stored(run) is not None


def sets(run: Path, places: Sequence[str], card: Card, split: str) -> Iterator[Judged]:
    """Open the data sets that a model is to be judged on.

    Args:
        run: what was trained; its own data is meant where no place is named.
        places: folders, each perhaps after the name of a group, as in "natural=photos/".
        card: the model's.
        split: to score; auto is test where there is one, else validation, else train; all is all.
    """
    settings = stored(run) if (run / "config.json").exists() else None
    seed = settings.request.views if settings else 0
    columns = settings.request.columns if settings else ()
    if not places:
        if settings is None:
            raise ConfigError(f"{run} does not say what it was trained on: name the data after it")
        data = open_data(settings.request.place, pixels=card.pixels, seed=seed, columns=columns)
        data, _ = left_out(data, settings.request)
        yield judged(held_out(data, settings.request)[0], split)
    for place in places:
        group, equals, folder = place.partition("=")
        if not equals or Path(place).exists():
            group, folder = "", place
        named = columns if Path(folder).is_file() else ()  # another list, of the same columns
        if card.kind in KINDS and Path(folder).is_dir():
            folder = f"{card.kind}:{folder}"  # the part of its scenes that the model answers
        data = open_data(folder, pixels=card.pixels, seed=seed, columns=named)
        yield replace(judged(data, split), group=group)


def judged(data: Data, split: str) -> Judged:
    """Choose the split of a data set that is scored.

    Raises:
        DataError: the data set has no such split.
    """
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    there = [name for name, source in splits.items() if source is not None]
    name = there[-1] if split == "auto" else split
    every = [source for source in splits.values() if source is not None]
    source = Joined(every) if name == "all" else splits[name]
    if source is None:
        raise DataError(f"{data.name} has no {name} pictures; it has: {', '.join(there)}")
    return Judged(name=data.name, test=source, split=name, train=data.train)


def keep(folder: Path, found: Evaluation, judged: Sequence[Judged]) -> None:
    """Write an evaluation into a folder, and draw it; it takes the place of one of the same."""
    path = folder / KEPT
    kept = read_json(path)["evaluations"] if path.exists() else []
    now = {**plain(found), "data": [data_of(data) for data in judged], "made": environment()}
    same = ("protocol", "settings", "model", "data")
    kept = [old for old in kept if any(old.get(key) != now[key] for key in same)]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps({"evaluations": [*kept, now]}, indent=2) + "\n")
    page(folder, [*kept, now])


def plain(found: Evaluation) -> dict[str, Any]:
    """Return an evaluation as JSON values, all but the confusion."""
    return {
        "protocol": found.protocol,
        "settings": dump(found.settings),
        "model": found.model,
        "findings": [_finding(finding) for finding in found.findings],
        "means": [_finding(finding) for finding in found.means],
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "data": finding.data,
        "group": finding.group,
        "split": finding.split,
        "count": finding.count,
        "scores": [_known(asdict(score)) for score in finding.scores],
        "reliability": [_known(asdict(each)) for each in finding.reliability],
        "curves": [_known(asdict(each)) for each in finding.curves],
        "notes": list(finding.notes),
        "unreadable": list(finding.unreadable),
    }


def _known(values: dict[str, Any]) -> dict[str, Any]:
    """Write numbers that are none as JSON has it."""

    def written(value: Any) -> Any:
        if isinstance(value, tuple):
            return [written(each) for each in value]
        return None if isinstance(value, float) and isnan(value) else value

    return {key: written(value) for key, value in values.items()}


def data_of(data: Judged) -> dict[str, Any]:
    """Say which pictures a model was judged on."""
    return {
        "name": data.name,
        "group": data.group,
        "split": data.split,
        "pictures": len(data.test),
        "fingerprint": data.test.fingerprint(),
        "training_fingerprint": data.train.fingerprint(),
    }

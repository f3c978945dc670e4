"""What five trained models look like inside, beside what the ViT paper shows of its own.

    python -m benchmarks.portraits [SETS] [--minutes 3] [--steps N] [--out runs/portraits]
        [--anew] [--page] [--timing]

On Fashion-MNIST, equal minutes each: a ResNet, a ViT, a DeiT whose distillation token learns from
the ResNet, a Swin, a PVT v2. Each one's page is then written by `patchword inspect` in a process of
its own, looked at in headless Chromium (light, dark, phone: pictures in OUT/shots), and its checks
are priced and made; the figures of the paper's section 4.5 are measured on held-out pictures, and
on the same network with fresh weights, several times, as the control. When all is there
benchmarks/portraits.json is kept, and docs/looking-inside.md drawn from it; --page draws it alone.

The same command goes on where it was stopped: a finished training is read, and so is whatever else
was measured, unless --anew is given. --steps cuts every training short, to try the way through;
what comes out then stays in OUT. --timing measures what a page of 16 pictures takes with
vit_small_patch16_224, of photos from clothing10: nothing else should run then.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch

from benchmarks.cells import Study, length, same
from benchmarks.distillation import CONVNET
from benchmarks.portraits_figures import figures
from benchmarks.portraits_page import page
from benchmarks.portraits_shots import looked_at
from patchword import create_model, save, train
from patchword.config import read_json
from patchword.files import write_text
from patchword.inspection.attention import backbone_of
from patchword.portrait.answers import heats
from patchword.portrait.checks import checked, price
from patchword.portrait.heads import images
from patchword.portrait.pictures import SHOWN, Picture, telling
from patchword.portrait.sight import sample, sight, sitter
from tests.parity.page import measured

DATA = "fashion_mnist"
NETWORKS = {  # the convnet first, as it teaches
    "resnet": {"model": "resnet18", "image_size": 28, "settings": CONVNET},
    "vit": {"model": "vit_mini_patch4_28", "image_size": 28},
    "deit": {"model": "deit_mini_patch4_28", "image_size": 28},
    "swin": {"model": "swin_mini_patch2_32", "image_size": 32},
    "pvt": {"model": "pvt_v2_mini_32", "image_size": 32},
}
TEACHER, STUDENT = "resnet", "deit"
BESIDE = ("vit", "resnet")  # two families on one page
PICTURES = 32  # held-out, that figures are measured on
FRESH = 5  # networks with fresh weights
LARGE, PHOTOS = "vit_small_patch16_224", "clothing10"  # that pages are timed with
KEPT = Path(__file__).with_name("portraits.json")
PAGE = Path(__file__).parents[1] / "docs" / "looking-inside.md"


def once(out, name, make):
    """Return what was measured before under a name, or measure it now."""
    path = out / "measured" / f"{name}.json"
    if not path.exists():
        print(f"\n== {name}", flush=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(make(), indent=1) + "\n")
    return read_json(path)


def data_of(sets):
    """Return what is learnt."""
    return str(sets / DATA)


def trained(study, data, minutes):
    """Train every network, or read what was trained."""
    span = length(study.steps) if study.steps else {"minutes": minutes}
    for name, words in NETWORKS.items():
        lesson = {"teacher": study.path(TEACHER), "token": True} if name == STUDENT else {}
        study.cell(name, data, {"workers": 0}, words, lesson, span)


def inspected(words, folder):
    """Write a page by the command, in a process of its own; return its size and its seconds."""
    command = [sys.executable, "-m", "patchword", "inspect", *map(str, words), "--device", "cpu"]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--out", str(folder), "--json"], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds = time.perf_counter() - began
    text = (folder / "inspect.html").read_bytes()
    return {
        "seconds": seconds,
        "bytes": len(text),
        "pictures": text.count(b'"verdict":'),
        "whole": b'"exact": true' in text,
        "figures": len(json.loads(done.stdout)["figures"]),
        "threads": torch.get_num_threads(),
    }


def priced(run):
    """Return what the checks of a run's maps were said to cost, and what they cost."""
    who = sitter(run, "cpu")
    shown = telling(sight(who, who.data))
    found = heats(who, shown)
    foreseen = price(who, shown, list(found))
    taken = checked(who, shown, found).seconds
    return {
        "passes": foreseen.passes,
        "gradients": foreseen.gradients,
        "foreseen": foreseen.seconds,
        "taken": taken,
    }


def learnt(run):
    """Return the figures of a run, and of the same network with fresh weights."""
    who = sitter(run, "cpu")
    source = sample(who.data.test, PICTURES)
    read = images(who, [Picture(source.name(i), source.read(i)) for i in range(len(source))])
    fresh = []
    for seed in range(FRESH):
        torch.manual_seed(seed)
        fresh.append(figures(backbone_of(who.model).config.build().eval(), read))
    size = sum(parameter.numel() for parameter in who.model.parameters())
    about = {"model": who.card.model, "parameters": size}
    return {**about, "trained": figures(who.model, read), "fresh": fresh}


def everything(study):
    """Return what is measured of every network."""
    out, found = study.out, {"pages": {}, "shots": {}, "checks": {}, "figures": {}}
    pages = {name: [study.path(name)] for name in NETWORKS}
    pages["-".join(BESIDE)] = [study.path(BESIDE[0]), "--against", study.path(BESIDE[1])]
    for name, words in pages.items():
        folder = out / "pages" / name
        found["pages"][name] = once(out, f"page-{name}", lambda w=words, f=folder: inspected(w, f))
        found["shots"][name] = once(
            out,
            f"shots-{name}",
            lambda n=name, f=folder: looked_at(f / "inspect.html", out / "shots" / n),
        )
    for name in NETWORKS:
        run = study.path(name)
        found["checks"][name] = once(out, f"checks-{name}", lambda r=run: priced(r))
        found["figures"][name] = once(out, f"figures-{name}", lambda r=run: learnt(r))
    return found


def timed(out, sets):
    """Return what the page of 16 photos takes, of a bare model and of a run on such photos."""
    model, run = out / "model", out / "run"
    torch.manual_seed(0)
    made = create_model(LARGE, num_classes=10)
    with torch.no_grad():  # fresh weights attend to everything alike, which no trained ones do
        for parameter in made.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    save(made, model)
    files = sorted((sets / PHOTOS / "test").glob("*/*"))
    pictures = files[:: max(len(files) // SHOWN, 1)][:SHOWN]
    train(str(sets / PHOTOS), out=run, model=LARGE, image_size=224, workers=0, settings=["steps=1"])
    return {
        "model": LARGE,
        "made": measured(),
        "named pictures": inspected([model, *pictures], out / "named"),
        "a run's own pictures": inspected([run], out / "own"),
    }


def kept(**found):
    """Return what is kept of earlier times with this in it, kept from now on."""
    every = {**(read_json(KEPT) if KEPT.exists() else {}), **found}
    write_text(KEPT, json.dumps(every, indent=1) + "\n")
    return every


def drawn(every, place):
    """Draw the page, where there is what it shows."""
    if "figures" in every:
        write_text(place, page(every))
        print(f"page  {place}", flush=True)


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sets", type=Path, nargs="?", default=Path("../shared/sets"))
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--out", type=Path, default=Path("runs/portraits"))
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("--page", action="store_true")
    parser.add_argument("--timing", action="store_true")
    given = parser.parse_args(words)
    out = given.out
    if given.page:
        return drawn(kept(), PAGE)
    if given.timing:
        timing = timed(out / "timing", given.sets)
        print(json.dumps(timing, indent=1))
        return drawn(kept(timing=timing), PAGE)
    same(out, {"sets": str(given.sets), "minutes": given.minutes, "steps": given.steps})
    if given.anew:
        shutil.rmtree(out / "measured", ignore_errors=True)
    study = Study(out, steps=given.steps)
    trained(study, data_of(given.sets), given.minutes)
    found = {
        "made": measured(),
        "minutes": given.minutes,
        "pictures": PICTURES,
        "cells": study.cells,
        **everything(study),
    }
    write_text(out / "results.json", json.dumps(found, indent=1) + "\n")
    drawn(found, out / "page.md")
    return None if given.steps else drawn(kept(**found), PAGE)


if __name__ == "__main__":
    sys.exit(main())

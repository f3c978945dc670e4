"""Two networks that compute the same, timed turn by turn, each in the best of its configurations.

Kept are the median of the rounds' ratios (above 1: ours is faster), their range, and the same for
the other network against itself, which is what a difference of nothing looks like.
"""

import argparse
import copy
import itertools
import json
import math
import sys
import time
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from statistics import geometric_mean, median

import torch

from patchword import memory
from patchword.layers import for_inference
from patchword.training.origin import processor
from tests.parity.compare import relative

ROUNDS = 7
SECONDS = 0.6  # of one block of calls
FINALISTS, FINALS = 3, 3  # of each side's ways: so many are timed so many times more
HOPELESS = 5  # a first answer that takes so many times the fastest way's: not tried further
RIGHT = {"fp32": 1e-4, "bf16": 5e-2, "bf16 whole": 5e-2}  # largest error, by the largest output
RATES = {"p", "drop_prob", "rate"}  # of dropout and stochastic depth, by ours and the peers' names
COLUMNS = """\
| model | peer | mode | ratio | range | same | ours | theirs | |
| --- | --- | --- | ---: | --- | --- | --- | --- | --- |
"""


class Wrong(Exception):
    """Two networks that do not compute the same: there is nothing to race."""


@dataclass(frozen=True)
class Way:
    """One configuration in which a network is run."""

    precision: str  # bf16: under autocast; bf16 whole: weights, images and all between
    channels_last: bool
    form: str = ""  # of the network, where there is more than one
    compiled: bool = False

    def __str__(self):
        words = [self.precision, *["channels last"] * self.channels_last]
        return " ".join([*words, *filter(None, [self.form]), *["compiled"] * self.compiled])


@cache
def ways(*, train):
    """Return the ways to try: in bf16 too, unless products of it are hopeless here.

    No network is trained in bf16 whole: weights of eight bits lose most of what they are to learn.
    """
    spent = {}
    for dtype in (torch.float32, torch.bfloat16):
        square = torch.rand(768, 768, dtype=dtype)
        square @ square
        start = time.perf_counter()
        square @ square
        spent[dtype] = time.perf_counter() - start
    able = spent[torch.bfloat16] < HOPELESS * spent[torch.float32]
    reduced = ("bf16",) if train else ("bf16", "bf16 whole")
    precisions = ("fp32", *reduced) if able else ("fp32",)
    return [Way(precision, last) for precision in precisions for last in (False, True)]


class Side:
    """One network in one configuration, as a function to be timed."""

    def __init__(self, model, way, batch, *, train):
        self.way, self.train = way, train
        model = copy.deepcopy(model).train(train)
        for part in model.modules():
            for rate in RATES & vars(part).keys():
                setattr(part, rate, 0.0)
        if way.precision == "bf16 whole":
            model, batch = model.bfloat16(), batch.bfloat16()
        if way.channels_last:
            model = model.to(memory_format=torch.channels_last)
            batch = batch.contiguous(memory_format=torch.channels_last)
        self.plain = model
        self.model = torch.compile(model) if way.compiled else model
        self.batch = batch
        self.optimizer = torch.optim.SGD(model.parameters(), lr=1e-9) if train else None

    def logits(self):
        with torch.autocast("cpu", torch.bfloat16, enabled=self.way.precision == "bf16"):
            found = self.model(self.batch)
        return found if isinstance(found, torch.Tensor) else found.logits

    def answer(self):
        """Return the logits of evaluation, however the side is timed."""
        self.plain.eval()
        with torch.no_grad():  # a peer may keep a tensor of this for the steps that follow
            found = self.logits().float()
        self.plain.train(self.train)
        return found

    def call(self):
        """Answer a batch, or take a step of a training on it."""
        if self.optimizer is None:
            with torch.inference_mode():
                return self.logits()
        self.optimizer.zero_grad()
        found = self.logits()
        cost = found.float().square().mean() if found.ndim else found  # a loss of its own
        cost.backward()
        self.optimizer.step()
        return found.detach()


def seconds(side, at_least=SECONDS):
    """Return the seconds of one call, over a block of them."""
    count, start = 0, time.perf_counter()
    while count < 1 or time.perf_counter() - start < at_least:
        side.call()
        count += 1
    return (time.perf_counter() - start) / count


def fastest(forms, batch, wanted, *, train, compiled):
    """Return the fastest ways of running a network whose outputs are right, as sides.

    Args:
        forms: the network by the form that it is in; "" is the plain one.
        batch: images.
        wanted: the outputs in fp32.
        train: time steps of a training, not answers.
        compiled: try the fastest way compiled as well.
    """
    tried = [
        (model, replace(way, form=form))
        for form, model in forms.items()
        for way in ways(train=train)
    ]
    right = []
    for model, way in tried:
        quickest = min(map(first, right), default=math.inf)
        found = trial(model, way, batch, wanted, train=train, within=HOPELESS * quickest)
        right = sorted([*right, *filter(None, [found])], key=first)[:FINALISTS]
    if compiled and right:
        side = right[0][1]
        way = replace(side.way, compiled=True)
        right += filter(None, [trial(side.plain, way, batch, wanted, train=train)])
    return [side for _, side in right]


def first(found):
    return found[0]


def chosen(*teams):
    """Return the fastest side of each team, all of them timed turn by turn.

    What a way takes depends on what ran before it: on the memory that was freed, above all.
    """
    spent = {id(side): [] for team in teams for side in team}
    for _ in range(FINALS):
        for side in itertools.chain(*teams):
            spent[id(side)].append(seconds(side))
    return [min(team, key=lambda side: median(spent[id(side)])) for team in teams]


def trial(model, way, batch, wanted, *, train, within=math.inf):
    """Return the seconds of one way of running a network, and the side.

    None if it goes wrong, or if its first answer takes longer than `within` seconds.
    """
    side, start = Side(model, way, batch, train=train), time.perf_counter()
    try:
        error = relative(side.answer(), wanted)
        if error > RIGHT[way.precision]:
            print(f"    {way}: wrong by {error:.1e}", flush=True)
            return None
        if time.perf_counter() - start > within:
            print(f"    {way}: too slow", flush=True)
            return None
        side.call()
        side.call()
    except Exception as error:  # a peer that cannot run this way
        print(f"    {way}: {type(error).__name__}", flush=True)
        return None
    return seconds(side), side


def duel(ours, theirs, twin, rounds):
    """Time three sides turn by turn; return the rounds' ratios, sorted.

    Those of theirs over ours, and those of theirs over its twin, which computes the same.
    """
    ratios, same = [], []
    sides = [ours, theirs, twin]
    for _ in range(rounds):
        spent = {id(side): seconds(side) for side in sides}
        ratios.append(spent[id(theirs)] / spent[id(ours)])
        same.append(spent[id(theirs)] / spent[id(twin)])
        sides.append(sides.pop(0))
    return sorted(ratios), sorted(same)


def raced(ours, theirs, batch, given):
    """Time the best of ours against the best of theirs; return what came out, as part of a row.

    Args:
        ours: a network.
        theirs: the other, by the form that it is in; "" is the plain one.
        batch: of images.
        given: what `asked` has read: mode, compile, batch, dry.
    """
    train, rounds = given.mode == "step", ROUNDS
    if given.dry:
        rounds = 1
    wanted = Side(ours, Way("fp32", False), batch, train=False).answer()
    kinds = {"train": train, "compiled": given.compile}
    forms = {"": ours} if train else {"": ours, "packed": for_inference(copy.deepcopy(ours))}
    teams = [fastest(own, batch, wanted, **kinds) for own in (forms, theirs)]
    if not all(teams):
        raise Wrong(f"{'theirs' if teams[0] else 'ours'} is right in none of its configurations")
    mine, other = chosen(*teams)
    twin = Side(other.plain, other.way, batch, train=train)
    twin.call()
    ratios, same = duel(mine, other, twin, rounds)
    return {
        "mode": given.mode,
        "compiled": given.compile,
        "batch": given.batch,
        "ratio": median(ratios),
        "range": [ratios[0], ratios[-1]],
        "same": [same[0], same[-1]],
        "ours": str(mine.way),
        "theirs": str(other.way),
        "on": f"{time.strftime('%Y-%m-%d')}, {circumstances()}",
    }


def circumstances():
    count = torch.get_num_threads()
    threads = f"{count} thread{'s' * (count > 1)}"
    return f"{processor()}, {threads}, freed memory kept, torch {torch.__version__}"


def asked(doc, batch=8):
    """Read the command line of a race, with so many pictures where none are said."""
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--only", default="*", help="a pattern of model names")
    parser.add_argument("--mode", choices=("forward", "step"), default="forward")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--batch", type=int, default=batch)
    parser.add_argument("--dry", action="store_true", help="one round, and keep nothing")
    parser.add_argument("--page", action="store_true", help="draw the page")
    return parser.parse_args()


def run(race, models, path, given):
    """Race the models of a pattern, and keep their rows in a file.

    Args:
        race: yields rows of (model, changes to its config, what `asked` has read).
        models: name -> changes to its config.
        path: of the file.
        given: what `asked` has read.
    """
    torch.manual_seed(0)
    wrong = []
    with memory.kept():  # for either side, as patchword's verbs do: pages made anew are only noise
        for name in [n for n in models if fnmatchcase(n, given.only)]:
            try:
                for row in race(name, models[name], given):
                    print(told(row), flush=True)
                    if not given.dry:
                        keep(row, path)
            except Wrong as error:
                wrong.append(f"{name}: {error}")
    if wrong:
        sys.exit("\n".join(wrong))


def keep(row, path):
    """Put a row in the place of the one that it renews."""
    rows = [old for old in kept(path) if identity(old) != identity(row)]
    rows = sorted([*rows, row], key=identity)
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def kept(path):
    return json.loads(path.read_text()) if path.exists() else []


def identity(row):
    return row["model"], row["compiled"], row["mode"], row["peer"]


def span(pair):
    return f"{pair[0]:.2f} to {pair[1]:.2f}"


def told(row):
    """Return a row for the terminal."""
    return (
        f"{row['model']:36} {row['peer']:12} {row['mode']} {row['ratio']:5.2f} "
        f"({span(row['range'])}; same: {span(row['same'])})  {row['ours']} | {row['theirs']}"
    )


def line(row):
    """Return a row for the page."""
    mode = row["mode"] + (", may compile" if row["compiled"] else "")
    changed = "".join(f", {key} {value}" for key, value in row["changed"].items())
    return (
        f"| `{row['model']}`{changed} | {row['peer']} | {mode} | {row['ratio']:.2f} "
        f"| {span(row['range'])} | {span(row['same'])} | {row['ours']} | {row['theirs']} "
        f"| {'slower' if row['range'][1] < row['same'][0] else ''} |\n"
    )


def fewest(rows, mode, compiled):
    """Return the ratio of each model to the peer that fares best against it."""
    best = {}
    for row in rows:
        if (row["mode"], row["compiled"]) == (mode, compiled):
            best[row["model"]] = min(row["ratio"], best.get(row["model"], math.inf))
    return best


def means(rows):
    """Yield the lines of a page that give the geometric means, by the best peer of each model."""
    yield "\nGeometric means, the best peer of each model:\n\n"
    for mode, compiled in sorted({(row["mode"], row["compiled"]) for row in rows}):
        best = fewest(rows, mode, compiled)
        kind = f"{mode}, {'eager or compiled' if compiled else 'eager'}"
        yield f"- {kind}: {geometric_mean(best.values()):.2f} over {len(best)} models\n"

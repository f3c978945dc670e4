"""The page of `benchmarks.portraits`: its tables, and sentences that its figures choose."""

from inspect import getdoc

from benchmarks.distillation_page import share, table
from benchmarks.portraits_figures import growth, ranked
from patchword.inspection.attention import attention_maps, class_attention
from patchword.inspection.attribution import gradcam, relevance
from patchword.inspection.curves import deletion, insertion
from patchword.inspection.distance import attention_distance
from patchword.inspection.embedding import embedded, neighbours, tsne_map
from patchword.inspection.entropy import attention_entropy
from patchword.inspection.positions import relative_biases
from patchword.inspection.rollout import rollout
from patchword.inspection.sanity import sanity
from patchword.inspection.similarity import minibatch_cka
from patchword.inspection.stem import filters, position_similarity
from patchword.inspection.tokens import artifacts, principal_picture, token_norms

NEAR, FAR = 0.5, 0.9  # of the distance of even attention: a local head, one that sees the whole
PAPER = ("vit", "deit")  # of the kind that the paper is about
TITLES = {"resnet": "ResNet", "vit": "ViT", "deit": "DeiT", "swin": "Swin", "pvt": "PVT v2"}
MEASURES = (
    *(attention_maps, class_attention, attention_distance, attention_entropy, rollout),
    *(relevance, gradcam, deletion, insertion, sanity),
    *(token_norms, artifacts, principal_picture, embedded, neighbours, tsne_map, minibatch_cka),
    *(filters, position_similarity, relative_biases),
)
SECONDS, BYTES = 60, 8_000_000  # that a page of 16 pictures may take
HEAD = """\
# Looking inside

What `patchword inspect` draws of networks that were trained here, and what their figures say beside
section 4.5 and figure 7 of the ViT paper (Dosovitskiy et al. 2021, arXiv:2010.11929), whose models
learnt from up to 300 million pictures. Made by `python -m benchmarks.portraits`, words and all:
which sentence stands here was chosen by what was measured. Measured on: {made}.

![The page of a DeiT](inspect.png)

The same in the dark, and on a phone: [inspect-dark.png](inspect-dark.png),
[inspect-phone.png](inspect-phone.png). On the page a pointer or the arrow keys pick a patch.

## The networks

Fashion-MNIST (60,000 pictures of 28 pixels), {span} of training each on one machine, by the recipe
that `patchword train` picks (the ResNet by SGD, as ResNets are trained). The DeiT's distillation
token learnt from the ResNet.

"""
HEADS = """
## Heads: near and far

The paper: "some heads attend to most of the image already in the lowest layers", others have
"consistently small attention distances in the low layers", and "the attention distance increases
with network depth".

A head's distance, in percent of what attending to every place alike gives: local below {near:.0%},
whole above {far:.0%}. {pictures} held-out pictures. Fresh: the same network {fresh} times with
fresh weights, the least and the most of all heads.

"""
POSITIONS = """
## Positions: the grid

The paper: "closer patches tend to have more similar position embeddings", and "patches in the same
row/column have similar embeddings". Nobody tells the network where a patch lies: the table of
positions starts as noise.

Cosines of positions after the mean is taken away. Follows: the rank correlation of a place's
cosines with how near the others are. Lines: by how much two places on one row or column are more
alike than two as far apart that are on neither.

"""
FILTERS = """
## Filters: waves

The paper: the main components of the patch filters "resemble plausible basis functions for a
low-dimensional representation of the fine structure within each patch".

Roughness of the first eight components: 1 for noise, near 0 for long waves. Explained: how much of
the filters' variance they hold.

"""
PAGES = """
## The pages

Each by `patchword inspect` in a process of its own, on {threads} of the machine above; then opened
in headless Chromium in light, in dark and on a phone. Answers: how many of a pointer and some keys
changed what the page says.

"""
CHECKS = """
## What checks cost

`--checks` measures whether the maps of what an answer rests on can be trusted, and says its price
first: so many seconds were said, and so many it took.

"""
BY_HAND = """
## By hand

What the page is made of are functions in `patchword.inspection`, on a model and images. They hook
what runs and leave fused kernels in place, so a model answers with the same bits while it is
watched; a notebook draws what they return. `python -m tests.inspection` prints how far each is from
timm's own maps, numpy written out, finite differences and captum.

```python
import patchword as pw
from patchword.inspection.distance import attention_distance

model = pw.load("runs/photos")
attention_distance(model, images)  # by layer: pixels of each head; draws itself
```

"""
TIMING = """
## Sixteen photos

The default page with `{model}` and 16 photos of clothing10, by
`python -m benchmarks.portraits --timing`. Measured on: {made}.

"""


def page(found):
    """Draw the page from results."""
    cells, learnt = found["cells"], found["figures"]
    minutes = f"{found['minutes']:g} minutes"
    span = minutes if all("minutes" in cell["words"] for cell in cells.values()) else "few steps"
    fresh = len(next(iter(learnt.values()))["fresh"])
    parts = [HEAD.format(made=found["made"], span=span), networks(cells, learnt)]
    parts += [
        HEADS.format(near=NEAR, far=FAR, pictures=found["pictures"], fresh=fresh),
        *said(heads_said, learnt, "heads"),
        heads_table(learnt),
    ]
    parts += [POSITIONS, *said(positions_said, learnt, "positions"), positions_table(learnt)]
    parts += [FILTERS, *said(filters_said, learnt, "filters"), filters_table(learnt)]
    pages = found["pages"]
    threads = {each["threads"] for each in pages.values()}
    several = "threads" if threads != {1} else "thread"
    words = f"{' or '.join(map(str, sorted(threads)))} {several}"
    parts += [PAGES.format(threads=words), pages_table(pages, found["shots"])]
    parts += [CHECKS, checks_table(found["checks"])]
    timing = found.get("timing")
    if timing:
        parts += [TIMING.format(**timing), timing_table(timing)]
    return "".join([*parts, BY_HAND, measures()])


def measures():
    rows = []
    for function in MEASURES:
        place = function.__module__.removeprefix("patchword.inspection.")
        says = (getdoc(function) or "").partition("\n\n")[0].removesuffix(".")
        rows.append([f"`{place}.{function.__name__}`", " ".join(says.split())])
    lines = [["function", "what it does"], ["---", "---"], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def networks(cells, learnt):
    rows = []
    for name, each in learnt.items():
        cell = cells[name]
        test = cell["scores"]["test"]
        low, high = test["interval"]
        rows.append(
            [
                *(TITLES[name], f"`{each['model']}`", f"{each['parameters'] / 1e6:.2f} M"),
                f"{cell['steps'] * cell['batch_size']:,}",
                f"{share(test['top1'])} [{share(low)}, {share(high)}]",
            ]
        )
    return table(["", "model", "parameters", "pictures seen", "test top-1, %"], rows)


def said(sentence, learnt, what):
    """Return a line of the list for each network of the paper's kind."""
    lines = [
        f"- {TITLES[name]}: {sentence(each['trained'][what], [f[what] for f in each['fresh']])}\n"
        for name, each in learnt.items()
        if name in PAPER and each["trained"][what]
    ]
    return [*lines, "\n"]


def heads_said(trained, fresh):
    """Say whether the lowest layer has near and far heads, and whether distance grows."""
    first, (near, far) = trained[0], counts(trained[0])
    count = f"of its {len(first)} heads"
    if near and far:
        lowest = f"as in the paper, the lowest layer has both: {count} {near} local, {far} whole"
    elif near:
        lowest = f"the lowest layer has local heads alone ({near} {count}), none sees the whole"
    elif far:
        lowest = f"the lowest layer has heads that see the whole ({far} {count}), none is local"
    else:
        lowest = f"no head of the lowest layer is local, and none sees the whole ({span(first)})"
    grown, chance = growth(trained), max(abs(growth(layers)) for layers in fresh)
    if grown > chance:
        deep = f"and distance grows with depth, by {points(grown)} from the first to the last layer"
    elif grown < -chance:
        deep = f"and distance does not grow: the last layer looks {points(-grown)} nearer"
    else:
        deep = f"and distance does not change with depth ({points(grown)}, which chance gives too)"
    return f"{lowest}; {deep}. Fresh heads: {outer(fresh)}."


def points(difference):
    return f"{100 * difference:.0f} points"


def span(shares):
    return f"{min(shares):.0%} to {max(shares):.0%}"


def outer(fresh):
    return span([s for layers in fresh for layer in layers for s in layer])


def heads_table(learnt):
    rows = []
    for name, each in learnt.items():
        layers = each["trained"]["heads"]
        if layers is None:
            rows.append([TITLES[name], *[""] * 5, "nothing attends"])
            continue
        first = layers[0]
        low, high = (f"{count} of {len(first)}" for count in counts(first))
        grown = f"{ranked(layers):+.2f}"
        means = " ".join(f"{sum(layer) / len(layer):.0%}" for layer in layers)
        fresh = outer([f["heads"] for f in each["fresh"]])
        rows.append([TITLES[name], span(first), low, high, means, grown, fresh])
    columns = ["", "heads of the first layer", "local", "whole", "mean by layer"]
    return table([*columns, "rank correlation with depth", "fresh"], rows)


def counts(first):
    """Return how many heads are local, and how many see the whole."""
    return sum(s < NEAR for s in first), sum(s > FAR for s in first)


def positions_said(trained, fresh):
    """Say whether positions are alike near by, and along rows and columns, beyond chance."""
    follows = trained["follows"] > max(f["follows"] for f in fresh)
    near = "closer patches have more similar positions" if follows else (
        "that closer patches have more similar positions is not to be seen"
    )  # fmt: skip
    lined = trained["lines"] is not None and trained["lines"] > max(f["lines"] for f in fresh)
    lines = "rows and columns stand out" if lined else "rows and columns do not stand out"
    if follows and lined:
        return f"as in the paper, {near}, and {lines}, more than in any fresh network."
    if follows:
        return f"{near}, as in the paper, but {lines} beyond what nearness explains."
    return f"{near}, and {lines}." if not lined else f"{near}, but {lines}."


def positions_table(learnt):
    rows = []
    for name, each in learnt.items():
        found = each["trained"]["positions"]
        if found is None:
            continue
        fresh = [f["positions"] for f in each["fresh"]]
        row = [f"{found[key]:+.2f}" for key in ("near", "far", "follows", "lines")]
        chance = [
            f"{min(f[key] for f in fresh):+.2f} to {max(f[key] for f in fresh):+.2f}"
            for key in ("follows", "lines")
        ]
        rows.append([TITLES[name], *row, *chance])
    columns = ["", "next to it", "far away", "follows", "lines", "follows, fresh", "lines, fresh"]
    return table(columns, rows)


def filters_said(trained, fresh):
    """Say whether the components are smoother than those of fresh weights."""
    least = min(f["roughness"] for f in fresh)
    smooth = f"roughness {trained['roughness']:.2f}, fresh networks {least:.2f} and more"
    if trained["roughness"] < least:
        return f"as in the paper, the components are waves ({smooth})."
    return f"the components are no smoother than those of fresh weights ({smooth})."


def filters_table(learnt):
    rows = []
    for name, each in learnt.items():
        found = each["trained"]["filters"]
        if found is None:
            continue
        row = [f"{found['side']}", f"{found['roughness']:.2f}", f"{found['explained']:.0%}"]
        for key, form in (("roughness", ".2f"), ("explained", ".0%")):
            chance = [f["filters"][key] for f in each["fresh"]]
            row.append(f"{min(chance):{form}} to {max(chance):{form}}")
        rows.append([TITLES[name], *row])
    columns = ["", "pixels a side", "roughness", "explained", "roughness, fresh"]
    return table([*columns, "explained, fresh"], rows)


def pages_table(pages, shots):
    rows = []
    for name, each in pages.items():
        seen = shots.get(name)
        kind = " beside ".join(TITLES[part] for part in name.split("-"))
        looks = ["", "", ""]
        if seen is not None:
            answered = seen["answers"]
            looks = [f"{seen['complaints']}", f"{seen['requests']}"]
            looks.append("" if answered is None else f"{answered[0]} of {answered[1]}")
        row = [f"{each['bytes'] / 1e6:.2f} MB", f"{each['seconds']:.1f}", f"{each['figures']}"]
        rows.append([kind, *row, *looks])
    columns = ["page", "size", "seconds", "figures as files", "errors", "requests", "answers"]
    return table(columns, rows)


def checks_table(checks):
    rows = [
        [
            *(TITLES[name], f"{each['passes']}", f"{each['gradients']}"),
            *(f"{each['foreseen']:.1f}", f"{each['taken']:.1f}"),
            f"{each['taken'] / each['foreseen']:.2f}",
        ]
        for name, each in checks.items()
    ]
    columns = ["", "passes", "maps by gradients", "seconds said", "seconds taken", "ratio"]
    return table(columns, rows)


def timing_table(timing):
    rows = []
    for kind in ("named pictures", "a run's own pictures"):
        each = timing[kind]
        kept = each["seconds"] < SECONDS and each["bytes"] < BYTES
        rows.append(
            [
                *(kind, f"{each['pictures']}", f"{each['threads']}", f"{each['seconds']:.1f}"),
                *(f"{each['bytes'] / 1e6:.2f} MB", "yes" if each["whole"] else "no"),
                "yes" if kept else "no",
            ]
        )
    columns = ["page of", "pictures", "threads", "seconds", "size", "one kept exactly"]
    return table([*columns, f"within {SECONDS} s and {BYTES / 1e6:.0f} MB"], rows)

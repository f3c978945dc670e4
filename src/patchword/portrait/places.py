"""Looking inside a model that answers place by place: answers, what they rest on, features."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from patchword.checkpoints import load
from patchword.config import read_json
from patchword.engine.devices import device as named_device
from patchword.errors import ConfigError
from patchword.evaluation.looker import Parter, Spotter
from patchword.evaluation.viewing import Viewer, Viewing
from patchword.heads.axial_deeplab import CENTRE
from patchword.heads.dense import to_multiple
from patchword.heads.detector import corners
from patchword.heads.max_deeplab import CLASSES, MASKS
from patchword.heads.panoptic import Answers
from patchword.inspection.drawn import titles
from patchword.inspection.queries import looks
from patchword.inspection.tokens import principal_colours
from patchword.pages.inspect import Inside, Panel, Plate, Run, Section, write_inside
from patchword.pages.overlays import boxed, thumbnail
from patchword.pages.plates import Row, Strip, overlaid
from patchword.pages.report import Facts, Figure
from patchword.portrait.pictures import Picture, named
from patchword.portrait.sight import sample
from patchword.predictor import Card
from patchword.results import Inspected
from patchword.training.drawn import kept, parted, small_boxes
from patchword.training.judge import progress, sets, stored_run
from patchword.training.origin import environment
from patchword.training.pictured import OfScenes, answer, colours, pixels
from patchword.training.subjects import subject_of
from patchword.training.use import threshold_of

SHOWN, EACH, LEVELS = 6, 4, 8  # pictures; of each so many queries or classes; levels of a strip
SAID = "Answers in the colours of their classes, as the report draws them."
RESTS = {  # by what is answered: title, caption
    "objects": (
        "What queries look at",
        "The surest queries of each picture with their boxes: what glows is what the query read in "
        "the decoder's last layer, the mean of its heads. DETR attends to all cells of its map; "
        "Deformable DETR reads a few points of several maps. Extremities that glow tell where a "
        "box ends.",
    ),
    "mask": (
        "Where classes are",
        "The probability of the classes that cover most of each picture; in a Segmenter, the mask "
        "of each class's token.",
    ),
    "panoptic": (
        "What segments are found by",
        "Of Axial-DeepLab's decoders the heat of the centres of things; of MaX-DeepLab the masks "
        "of the slots that are surest of a class.",
    ),
}


def answers_places(run: Path) -> bool:
    """Tell whether a run or a folder of ours holds a model that answers place by place."""
    file = run / "config.json"
    return file.is_file() and read_json(file).get("head") is not None


def alone(run: Path, against: Path | None, *, checks: bool) -> None:
    """Refuse what is of classifiers.

    Raises:
        ConfigError: it is asked for.
    """
    if against is not None or checks:
        raise ConfigError(
            f"{run} answers place by place, and --against and --checks are of classifiers: leave "
            "them out"
        )


def inspect_places(
    run: Path, patterns: Sequence[str], *, out: Path | None, device: str
) -> Inspected:
    """Look inside a model, and write what is there into a page.

    Raises:
        ConfigError: no pictures are named, and the model does not say what it was trained on.
    """
    began = time.perf_counter()
    model = load(run).to(named_device(device)).eval()
    card = model.card
    assert card is not None
    subject = subject_of(model, card)
    assert isinstance(subject, Viewer | Spotter | Parter)
    shown, unread = pictures(run, patterns, card)
    name = run.resolve().name
    count = sum(p.numel() for p in model.parameters())
    folder = out or (run if stored_run(run) else Path("inspect") / name)
    page = Inside(
        title=f"Inside {name}",
        subtitle=f"{card.model}, shown {len(shown)} pictures.",
        headline=(Figure(label="parameters", value=f"{count / 1e6:.1f} M", note=card.model),),
        notes=tuple(f"not shown: {reason}" for reason in unread),
        runs=(Run(name=name, absent="Patch by patch, attention is drawn of classifiers alone."),),
        sections=sections(subject, shown, threshold_of(run, None, model)),
        facts=facts(card, time.perf_counter() - began),
    )
    found = write_inside(page, folder / "inspect.html")
    progress("")
    said = {plate.id: plate.caption for section in page.sections for plate in section.plates}
    return Inspected(folder / "inspect.html", page.title, found, said)


def pictures(run: Path, patterns: Sequence[str], card: Card) -> tuple[list[Picture], list[str]]:
    """Return the pictures that were named, or some that were held out."""
    if patterns:
        shown, unread = named(patterns, card.pixels)
        return shown[:SHOWN], unread
    if not stored_run(run):
        raise ConfigError(f"{run} does not say what it was trained on: name pictures after it")
    source = sample(next(sets(run, (), card, "auto")).test, SHOWN)
    return [Picture(source.name(i), source.read(i)) for i in range(len(source))], []


def sections(subject: OfScenes, shown: Sequence[Picture], least: float) -> tuple[Section, ...]:
    """Draw what is answered, what that rests on, and what the pictures are to the model."""
    said = Strip(
        columns=("picture", "answer"),
        rows=tuple(
            Row(title=p.name, pictures=(small(p), answered(subject, p, least))) for p in shown
        ),
    )
    answers = [Plate(id="answers", title="Answers", caption=SAID, panels=drawn(said))]
    if subject.card.kind in RESTS:
        title, caption = RESTS[subject.card.kind]
        strip = rests(subject, shown)
        answers.append(Plate(id="rests", title=title, caption=caption, panels=drawn(strip)))
    features = Plate(
        id="tokens",
        title="Features, level by level",
        caption="The cells of some levels, from the first to the last: their three main directions "
        "are red, green and blue, for each picture by itself. Cells of one colour are alike to the "
        "model; where a column shows things rather than edges, it has found them.",
        panels=drawn(levels(subject, shown)),
    )
    return (
        Section(
            id="said",
            title="Answers",
            lead="Pictures, and what the model says of their places.",
            plates=tuple(answers),
        ),
        Section(
            id="features",
            title="Features",
            lead="What the pictures are to the model itself, from its first level to its last.",
            plates=(features,),
        ),
    )


def drawn(strip: Strip | None) -> tuple[Panel, ...]:
    """Return the one panel of a figure."""
    absent = "Its queries read regions, of which there is no map."
    return (Panel(absent=absent) if strip is None else Panel(drawn=strip),)


def small(picture: Picture) -> UInt8[np.ndarray, "h w 3"]:
    """Return a picture as a page shows it."""
    return thumbnail(pixels(picture.pixels))


def answered(subject: OfScenes, picture: Picture, least: float) -> UInt8[np.ndarray, "h w 3"]:
    """Draw an answer."""
    whole = pixels(picture.pixels)
    if isinstance(subject, Spotter):
        found = kept(subject.objects(picture.pixels), least)
        return small_boxes(whole, found, found.labels)
    if isinstance(subject, Parter):
        return parted(whole, subject.parts(picture.pixels))
    return colours(subject, picture.pixels, answer(subject, picture.pixels, Viewing()))


def rests(subject: OfScenes, shown: Sequence[Picture]) -> Strip | None:
    """Draw what answers rest on, for each picture a few of them; None where there is no map."""
    rows: list[Row] = []
    for number, picture in enumerate(shown):
        progress(f"picture {number + 1} of {len(shown)}")
        found = (
            queries(subject, picture) if isinstance(subject, Spotter) else maps(subject, picture)
        )
        if found is None:
            return None
        drawn_, words = zip(*found, strict=True)
        row = Row(title=picture.name, pictures=(small(picture), *drawn_), words=("", *words))
        rows.append(row)
    most = max(len(row.pictures) for row in rows)
    return Strip(columns=("picture", *(str(k + 1) for k in range(most - 1))), rows=tuple(rows))


@torch.no_grad()
def queries(subject: Spotter, picture: Picture) -> list[tuple[np.ndarray, str]] | None:
    """Return where the surest queries look, over the picture, and what they answer."""
    images, size = fitted(subject, picture)
    sizes = torch.tensor([size], device=images.device)
    heats = looks(subject.model, images, sizes)
    if heats is None:
        return None
    found = subject.model(images, sizes)
    soft = subject.model.head.scoring == "softmax"
    scores = found.scores[0].softmax(-1)[:, :-1] if soft else found.scores[0].sigmoid()
    sure, labels = scores.max(dim=1)
    names, below = subject.card.names, small(picture)
    rows: list[tuple[np.ndarray, str]] = []
    for query in sure.argsort(descending=True)[:EACH].tolist():
        glow = overlaid(below, inside(heats[0, query].cpu(), size, images).numpy())
        sides = np.array([*glow.shape[1::-1]] * 2)
        box = corners(found.boxes[0, query]).cpu().double().numpy() * sides
        label = int(labels[query])
        rows.append(
            (boxed(glow, box[None], np.array([label])), f"{names[label]} {sure[query]:.2f}")
        )
    return rows


def fitted(subject: OfScenes, picture: Picture) -> tuple[Float[Tensor, "1 c H W"], Sequence[int]]:
    """Return a picture as the model's network reads it, and how much of that is the picture."""
    images, size = subject.fitted(picture.pixels)
    where = next(subject.model.parameters()).device
    return to_multiple(images.to(where), subject.model.backbone.multiple), size


def inside(
    heat: Shaped[Tensor, "rows columns"], size: Sequence[int], images: Tensor
) -> Shaped[Tensor, "_ _"]:
    """Return what of a map over padded images lies on the picture."""
    rows, columns = (
        max(1, round(cells * own / whole))
        for cells, own, whole in zip(heat.shape, size, images.shape[2:], strict=True)
    )
    return heat[:rows, :columns]


@torch.no_grad()
def maps(subject: Viewer | Parter, picture: Picture) -> list[tuple[np.ndarray, str]]:
    """Return maps of classes, or of what segments are found by, over the picture, and names."""
    images, size = fitted(subject, picture)
    names, below = subject.card.names, small(picture)
    if isinstance(subject, Parter):
        found = found_by(subject.model.answers(images), names)
    else:
        shares = subject.model(images)[0].softmax(dim=0)
        most = shares.mean(dim=(1, 2)).argsort(descending=True)[:EACH].tolist()
        found = [(shares[k], names[k]) for k in most]
    return [(overlaid(below, inside(h.cpu(), size, images).numpy()), word) for h, word in found]


def found_by(
    answers: Answers, names: Sequence[str]
) -> list[tuple[Float[Tensor, "rows columns"], str]]:
    """Return maps that one picture's segments are found by, and what they are of."""
    if CENTRE in answers:
        return [(answers[CENTRE][0, 0], "centres")]
    sure, labels = answers[CLASSES][0].softmax(dim=-1)[:, :-1].max(dim=1)
    shares = answers[MASKS][0].softmax(dim=0)
    most = sure.argsort(descending=True)[:EACH].tolist()
    return [(shares[slot], f"{names[int(labels[slot])]} {sure[slot]:.2f}") for slot in most]


@torch.no_grad()
def levels(subject: OfScenes, shown: Sequence[Picture]) -> Strip:
    """Draw the cells of some levels that have a grid, from the first to the last."""
    backbone = subject.model.backbone
    there = [level.name for level in backbone.levels if level.stride is not None]
    picked = np.linspace(0, len(there) - 1, min(LEVELS, len(there))).round().astype(int)
    chosen = [there[i] for i in picked]
    rows: list[Row] = []
    for picture in shown:
        images, size = fitted(subject, picture)
        taps = backbone(images, taps=chosen).taps
        cells = [(255 * principal_colours(tap.map.float())).round().byte()[0].cpu() for tap in taps]
        each = [pixels(torch.stack([inside(p, size, images) for p in level])) for level in cells]
        rows.append(Row(title=picture.name, pictures=(small(picture), *each)))
    return Strip(columns=("picture", *titles(chosen)), rows=tuple(rows))


def facts(card: Card, seconds: float) -> tuple[Facts, ...]:
    """Say what was looked into, and how."""
    machine = environment()
    rows = (
        ("model", card.model),
        ("backbone", str(card.backbone)),
        ("seconds", f"{seconds:.0f}"),
        ("date", str(machine["date"])),
        ("command", " ".join(machine["command"])),
    )
    return (Facts(title="Made", rows=rows),)

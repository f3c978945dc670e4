"""What a model was made from, and on what terms: what its card says, never more than that."""

import re
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any, NamedTuple

from patchword.config import dump, parse
from patchword.data.terms import Terms, recognised, restricted
from patchword.predictor import Card
from patchword.results import Inherited
from patchword.sources import listed

IMAGENET = re.compile(r"in(1k|12k|21k|22k)(?![a-z0-9])|imagenet", re.IGNORECASE)
IMAGENETS_OWN = "its own terms of access: non-commercial research"
NEEDS = re.compile(r"\s*([\w.-]+)\s*(\[[^\]]*\])?")  # a requirement's name and extras
CLASSIFIER = "License :: OSI Approved :: "


class Origin(NamedTuple):
    """Where a model's weights were taken from."""

    source: str  # as `load` takes it
    revision: str | None = None  # of the Hub
    terms: Terms | None = None  # as they are stated there


def taken(card: Card, origin: Origin) -> Card:
    """Return the card of a model that was taken from somewhere, with what it had before."""
    terms, known = origin.terms, listed(origin.source)
    if known is not None and known.licence != "unknown" and not (terms and terms.licence):
        terms = Terms(known.licence, f"listed by {known.listed}")
    about = {k: v for k, v in card.provenance.items() if k not in ("revision", "licence")}
    if before := lineage(card):
        about["inherits"] = [dump(row) for row in through(before, origin.source)]
    about["source"] = origin.source
    if origin.revision is not None:
        about["revision"] = origin.revision
    if terms is not None:
        about |= {"licence": terms.licence, "licence_said": terms.said}
    return replace(card, provenance=about)


def lineage(card: Card) -> list[Inherited]:
    """Return what a model was made from, as far as its card says it."""
    about, rows = card.provenance, list[Inherited]()
    if source := about.get("source"):
        said = about.get("licence_said") or f"look at {_place(source)}"
        at = f"@{about['revision'][:12]}" if "revision" in about else ""
        rows.append(_row("weights", f"{source}{at}", Terms(about.get("licence"), said)))
        if "inherits" not in about:
            rows.append(_learnt_from(source, said))
    where = f"what {card.model} inherits"
    return [*rows, *(parse(Inherited, row, where=where) for row in about.get("inherits", ()))]


def through(rows: list[Inherited], name: str) -> list[Inherited]:
    """Return rows as something else hands them on, by its name."""
    return [replace(row, through=row.through or name) for row in rows]


def passed_on(card: Card, name: str, kind: str) -> list[Inherited]:
    """Return what a training inherits from a model that it starts from, or learns from.

    Args:
        card: the model's.
        name: as it was named.
        kind: what its own weights are to the training: weights or teacher.
    """
    rows = lineage(card)
    if not rows:
        return [_row(kind, name, Terms(None, f"where {name} is from: its card does not say"))]
    if "source" in card.provenance:
        first, *rest = rows
        return [replace(first, kind=kind), *through(rest, name)]
    return through(rows, name)


def readme(card: Card) -> str:
    """Return the page of a model for those who keep no such thing in their own files."""
    about = card.provenance
    head = f"---\nlicense: {about['licence']}\n---\n" if about.get("licence") else ""
    rows = (
        f"- {row.kind} {row.name}: {row.licence or 'terms not known'} ({row.said})"
        + (f", through {row.through}" if row.through else "")
        for row in lineage(card)
    )
    return "\n".join((f"{head}{card.model}, written by Patchword; made from", "", *rows, ""))


def of_data(name: str, terms: Terms) -> Inherited:
    """Return a data set's row."""
    return _row("data", name, terms)


def of_code(card: Card) -> list[Inherited]:
    """Return Patchword, what it needs to run, and the library that a model may be of."""
    library, colon, _ = card.model.partition(":")
    found = dict(needed("patchword")) | (dict(needed(library)) if colon else {})
    return [_row("code", f"{name} {d.version}", _terms(d)) for name, d in found.items()]


def needed(name: str) -> Iterator[tuple[str, Distribution]]:
    """Yield a package and all that it needs, as far as it is installed; its extras aside."""
    waiting, seen = [name], set[str]()
    while waiting:
        asked = NEEDS.match(waiting.pop(0))
        assert asked is not None
        name, extras = (
            re.sub(r"[-_.]+", "-", asked[1]).lower(),
            re.findall(r"[\w-]+", asked[2] or ""),
        )
        if f"{name}{extras}" in seen:
            continue
        try:
            found = distribution(name)
        except PackageNotFoundError:
            continue  # for another platform
        yield name, found
        seen.add(f"{name}{extras}")
        for line in found.requires or ():
            extra = re.search(r"\bextra\s*==\s*['\"]([\w-]+)", line)
            waiting += [line] if extra is None or extra[1] in extras else []


def _terms(found: Distribution) -> Terms:
    """Return what a package says of itself."""
    about: Any = found.metadata  # whose type hides that it is a message
    if stated := about.get("License-Expression"):
        return Terms(stated, "its metadata")
    words = [c.removeprefix(CLASSIFIER) for c in about.get_all("Classifier") or ()]
    classes = [w for c, w in zip(about.get_all("Classifier") or (), words, strict=True) if c != w]
    text = (about.get("License") or "").strip()
    known = recognised(text)
    brief = [text] if text and "\n" not in text and text != "UNKNOWN" else known
    if chosen := classes or brief:
        return Terms(", ".join(chosen), "its metadata")
    return Terms(None, f"look at {about.get('Home-page') or 'its page on PyPI'}")


def _row(kind: str, name: str, terms: Terms) -> Inherited:
    return Inherited(kind, name, terms.licence, terms.said, restricted(terms.licence))


def _learnt_from(source: str, said: str) -> Inherited:
    """Return the data that published weights learnt from, where their name tells it."""
    if IMAGENET.search(f"{source} {said}"):
        row = _row("data", "ImageNet", Terms(IMAGENETS_OWN, "image-net.org; by the weights' name"))
    else:
        row = _row("data", "what they learnt from", Terms(None, f"look at {_place(source)}"))
    return replace(row, through=source)


def _place(source: str) -> str:
    repository = source.removeprefix("hf:")
    return f"huggingface.co/{repository}" if source != repository else f"where {source} is from"

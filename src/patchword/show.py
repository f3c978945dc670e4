"""What each verb's answer looks like on a terminal, or as JSON lines."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchword.diagnosis.findings import Remark
    from patchword.diagnosis.visit import Diagnosis
    from patchword.evaluation.protocol import Evaluation
    from patchword.results import Converted, Inherited, Inspected, Prediction, TrainedRun

FEW = 5  # remarks of one kind about the classes of a split


def train(run: "TrainedRun", *, as_json: bool) -> int:
    """Show nothing more: a training says itself what came out."""
    return 0


def doctor(diagnosis: "Diagnosis", *, as_json: bool) -> int:
    """Show what was found and where it stands; 1 where something should be put right first."""
    from patchword.data import said as pixels
    from patchword.diagnosis.checkup import table
    from patchword.diagnosis.findings import KINDS
    from patchword.training.screen import split_words
    from patchword.training.screen import table as shown

    found = diagnosis.found
    code = 0 if found.sound else 1
    rows = table(found, found.findings)
    if as_json:
        keys = ("file", "split", "kind", "why")
        remarks = [(r.where, r.where.partition("/")[0], r.kind, r.why) for r in found.remarks]
        _lines([dict(zip(keys, row, strict=True)) for row in (*rows, *remarks)])
        return code
    for name, split in found.census.items():
        print(split_words(name, split))
        for line in pixels(name, split):
            print(f"pixels        {line}")
    print(f"wrong labels  {found.labels}")
    for line in found.omitted:
        print(f"left out      {line}")
    for line in found.examined.data.notes:
        print(f"noted         {line}")
    kinds = [
        (f"{found.counts[kind]:,}", said, *next((r[0], r[3]) for r in rows if r[2] == kind))
        for kind, said in KINDS.items()
        if found.counts[kind]
    ]
    lines = kinds + _remarks(found.remarks)
    if lines:
        shown(("pictures", "found", "for example", "why"), lines)
    else:
        print("found         nothing to put right")
    print(f"page          {diagnosis.report}")
    if found.quarantine:
        flag = f"patchword train DATA --quarantine {diagnosis.quarantine}"
        print(f"quarantine    {len(found.quarantine):,} pictures; {flag} leaves them out")
    return code


def _remarks(remarks: Sequence["Remark"]) -> list[tuple[str, str, str, str]]:
    """Return rows about classes: of each split a few of each kind, and how many more there are."""
    alike: dict[tuple[str, str], list[Remark]] = {}
    for remark in remarks:
        alike.setdefault((remark.kind, remark.where.partition("/")[0]), []).append(remark)
    rows: list[tuple[str, str, str, str]] = []
    for (kind, split), some in alike.items():
        rows += [("", f"{kind} class", r.where, r.why) for r in some[:FEW]]
        if len(some) > FEW:
            more = f"{len(some) - FEW:,} more in {split}"
            rows.append(("", f"{kind} class", more, "findings.csv lists them"))
    return rows


def evaluate(found: "Evaluation", *, as_json: bool) -> int:
    """Show a line per data set and setting."""
    from patchword.training.judge import plain
    from patchword.training.screen import scores_table

    if as_json:
        print(json.dumps(plain(found), ensure_ascii=False))
        return 0
    findings = (*found.findings, *found.means)
    scores_table(findings)
    for finding in findings:
        for line in finding.notes:
            print(f"{finding.data}: {line}")
        for line in finding.unreadable:
            print(f"not scored: {line}")
    return 0


def inspect(found: "Inspected", *, as_json: bool) -> int:
    """Show where the page and its figures are."""
    if as_json:
        figures = {name: str(path) for name, path in found.figures.items()}
        return _lines([{"page": str(found.path), "figures": figures}])
    print(f"page          {found.path}")
    if found.figures:
        folder = next(iter(found.figures.values())).parent
        print(f"figures       {len(found.figures)} in {folder}")
    return 0


def convert(done: "Converted", *, as_json: bool) -> int:
    """Show what became of the tensors, and where the model is."""
    for line in done.said:
        print(line)
    print(f"{done.path}: {done.model} as {done.format}, {done.tensors} tensors, read back the same")
    return 0


def licences(rows: "list[Inherited]", *, as_json: bool) -> int:
    """Show a line per thing, and which of them bind or are not known."""
    from dataclasses import asdict

    from patchword.training.screen import table

    if as_json:
        return _lines([asdict(row) for row in rows])
    table(
        ("from", "what", "licence", "says", "through"),
        [(r.kind, r.name, _mark(r) + (r.licence or "not known"), r.said, r.through) for r in rows],
    )
    bound = [f"{r.kind} {r.name}" for r in rows if r.restricted]
    unknown = [f"{r.kind} {r.name}" for r in rows if r.licence is None]
    print(f"not commercial, or research alone (!): {', '.join(bound) or 'nothing that is known'}")
    print(f"not known (?): {', '.join(unknown) or 'nothing'}")
    return 0


def _mark(row: "Inherited") -> str:
    return "! " if row.restricted else "? " if row.licence is None else ""


def models(rows: list[dict[str, Any]], *, as_json: bool) -> int:
    """Show a line per model, or per trained weights of one."""
    from patchword.training.screen import table

    if as_json:
        return _lines(rows)
    if rows and "source" in rows[0]:
        return sources(rows)
    table(
        ("model", "parameters", "MACs", "image", "claimed top-1", "agrees with", "paper"),
        [
            (
                row["model"],
                f"{row['parameters'] / 1e6:,.1f} M",
                f"{row['macs'] / 1e9:,.2f} G",
                "x".join(map(str, row["image_size"])),
                "" if row["claim"]["top1"] is None else f"{row['claim']['top1']:.1f} %",
                ", ".join(peer for peer, found in row["parity"].items() if found["passed"]),
                row["paper"].partition(",")[0],
            )
            for row in rows
        ],
    )
    return 0


def sources(rows: list[dict[str, Any]]) -> int:
    """Show a line per trained weights."""
    from patchword.training.screen import table

    table(
        ("model", "source", "licence", "classes", "image", "mean", "std"),
        [
            (
                row["model"],
                row["source"],
                row["licence"],
                {None: "unknown", 0: "no head"}.get(row["num_classes"], str(row["num_classes"])),
                "x".join(map(str, row["image_size"])),
                *(" ".join(f"{v:.3g}" for v in row[what]) for what in ("mean", "std")),
            )
            for row in rows
        ],
    )
    return 0


def predict(answers: "list[Prediction]", *, as_json: bool) -> int:
    """Show a line per picture; fail only if no picture could be read."""
    from patchword.training.screen import table

    if as_json:
        _lines([_plain(answer) for answer in answers])
    elif any(answer.written for answer in answers):
        table(
            ("file", "what is there", "written"),
            [
                (a.file, *((f"cannot be read: {a.error}", "") if a.error else _places(a)))
                for a in answers
            ],
        )
    else:
        values = next((a.names for a in answers if a.values), ())
        columns = values or ("answer", "probability", "then")
        blank = ("",) * (len(columns) - 1)
        table(
            ("file", *columns),
            [
                (a.file, *((f"cannot be read: {a.error}", *blank) if a.error else _cells(a)))
                for a in answers
            ],
        )
        for note, count in Counter(note for a in answers for note in a.notes).most_common():
            print(f"pixels: {count} of {len(answers)} pictures: {note}")
    return 2 if all(answer.error for answer in answers) else 0


def _places(answer: "Prediction") -> tuple[str, str]:
    if answer.boxes is not None:
        each = ", ".join(f"{name} {count}" for name, count in Counter(answer.names).most_common())
        return each or "nothing", answer.written[-1]
    shares = zip(answer.names, answer.shares, strict=True)
    return ", ".join(f"{name} {share:.1%}" for name, share in shares), answer.written[0]


def _cells(answer: "Prediction") -> tuple[str, ...]:
    if answer.values:
        return tuple(f"{value:.4g}" for value in answer.values)
    pairs = zip(answer.names[1:], answer.probabilities[1:], strict=True)
    then = ", ".join(f"{name} {probability:.1%}" for name, probability in pairs)
    return answer.names[0], f"{answer.probabilities[0]:.1%}", then


def _plain(answer: "Prediction") -> dict[str, Any]:
    if answer.error:
        return {"file": answer.file, "error": answer.error}
    notes = {"notes": list(answer.notes)} if answer.notes else {}
    if answer.values:
        values = dict(zip(answer.names, answer.values, strict=True))
        return {"file": answer.file, "values": values, **notes}
    if answer.boxes is not None:
        rows = zip(answer.names, answer.probabilities, answer.boxes, strict=True)
        objects = [{"name": n, "score": s, "box": list(box)} for n, s, box in rows]
        return {"file": answer.file, "objects": objects, "written": list(answer.written), **notes}
    if answer.written:
        shares = dict(zip(answer.names, answer.shares, strict=True))
        return {"file": answer.file, "shares": shares, "written": list(answer.written), **notes}
    pairs = zip(answer.names, answer.probabilities, strict=True)
    answers = [{"name": name, "probability": probability} for name, probability in pairs]
    return {"file": answer.file, "answers": answers, **notes}


def _lines(rows: list[dict[str, Any]]) -> int:
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
    return 0

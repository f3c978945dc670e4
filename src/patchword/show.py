"""What each verb's answer looks like on a terminal, or as JSON lines."""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchword.api import Diagnosis, Prediction, TrainedRun
    from patchword.evaluation.topk import TopK


def train(run: "TrainedRun", *, as_json: bool) -> int:
    """Show nothing more: a training says itself what came out."""
    return 0


def doctor(diagnosis: "Diagnosis", *, as_json: bool) -> int:
    """Show what was found and where it stands; 1 where something should be put right first."""
    from patchword.doctor.checkup import table
    from patchword.doctor.findings import KINDS
    from patchword.training.screen import split_words

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
    print(f"wrong labels  {found.labels}")
    _table(
        ("pictures", "found", "for example", "why"),
        [
            (f"{found.counts[kind]:,}", said, *next((r[0], r[3]) for r in rows if r[2] == kind))
            for kind, said in KINDS.items()
            if found.counts[kind]
        ]
        + [("", f"{r.kind} class", r.where, r.why) for r in found.remarks],
    )
    print(f"page          {diagnosis.report}")
    if found.quarantine:
        flag = f"patchword train DATA --quarantine {diagnosis.quarantine}"
        print(f"quarantine    {len(found.quarantine):,} pictures; {flag} leaves them out")
    return code


def evaluate(found: "TopK", *, as_json: bool) -> int:
    """Show the scores."""
    from patchword.training.screen import table

    table({found.split: found})
    for reason in found.unreadable:
        print(f"not scored: {reason}")
    return 0


def models(rows: list[dict[str, Any]], *, as_json: bool) -> int:
    """Show a line per model."""
    if as_json:
        return _lines(rows)
    _table(
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


def predict(answers: "list[Prediction]", *, as_json: bool) -> int:
    """Show a line per picture; fail only if no picture could be read."""
    if as_json:
        _lines(
            [
                {"file": a.file, "error": a.error}
                if a.error
                else {
                    "file": a.file,
                    "answers": [
                        {"name": n, "probability": p}
                        for n, p in zip(a.names, a.probabilities, strict=True)
                    ],
                }
                for a in answers
            ]
        )
    else:
        _table(
            ("file", "answer", "probability", "then"),
            [
                (a.file, f"cannot be read: {a.error}", "", "")
                if a.error
                else (
                    a.file,
                    a.names[0],
                    f"{a.probabilities[0]:.1%}",
                    ", ".join(
                        f"{n} {p:.1%}"
                        for n, p in zip(a.names[1:], a.probabilities[1:], strict=True)
                    ),
                )
                for a in answers
            ],
        )
    return 2 if all(answer.error for answer in answers) else 0


def _lines(rows: list[dict[str, Any]]) -> int:
    for row in rows:
        print(json.dumps(row, ensure_ascii=False))
    return 0


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD)
    for column in columns:
        right = column in ("parameters", "MACs", "claimed top-1", "probability", "pictures")
        shown.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*map(escape, row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 1000  # a file or another program has no edge to fold at
    console.print(shown)

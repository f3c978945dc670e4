"""What each verb's answer looks like on a terminal, or as JSON lines."""

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from patchword.evaluation.protocol import Evaluation
    from patchword.results import Converted, Prediction, TrainedRun


def train(run: "TrainedRun", *, as_json: bool) -> int:
    """Show nothing more: a training says itself what came out."""
    return 0


def evaluate(found: "Evaluation", *, as_json: bool) -> int:
    """Show a line per data set and setting."""
    from patchword.evaluation.protocol import rows
    from patchword.training.judge import plain

    if as_json:
        print(json.dumps(plain(found), ensure_ascii=False))
        return 0
    findings = (*found.findings, *found.means)
    names = list(dict.fromkeys(score.name for f in findings for score in f.scores))
    under = any(score.under for f in findings for score in f.scores)
    narrow = len(names) <= 5  # wider tables leave the intervals to the page and the JSON
    _table(
        ("data", "split", "count", *(("under",) if under else ()), *names),
        [
            (
                finding.data,
                finding.split,
                f"{finding.count:,}",
                *((setting,) if under else ()),
                *(scores[n].words(interval=narrow) if n in scores else "" for n in names),
            )
            for finding in findings
            for setting, scores in rows(finding).items()
        ],
    )
    for finding in findings:
        for line in finding.notes:
            print(f"{finding.data}: {line}")
        for line in finding.unreadable:
            print(f"not scored: {line}")
    return 0


def convert(done: "Converted", *, as_json: bool) -> int:
    """Show what became of the tensors, and where the model is."""
    for line in done.said:
        print(line)
    print(f"{done.path}: {done.model} as {done.format}, {done.tensors} tensors, read back the same")
    return 0


def models(rows: list[dict[str, Any]], *, as_json: bool) -> int:
    """Show a line per model, or per trained weights of one."""
    if as_json:
        return _lines(rows)
    if rows and "source" in rows[0]:
        return sources(rows)
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


def sources(rows: list[dict[str, Any]]) -> int:
    """Show a line per trained weights."""
    _table(
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
                    **({"notes": list(a.notes)} if a.notes else {}),
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
        for note, count in Counter(note for a in answers for note in a.notes).most_common():
            print(f"pixels: {count} of {len(answers)} pictures: {note}")
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
        right = column in ("parameters", "MACs", "claimed top-1", "probability", "count")
        shown.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*map(escape, row))
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = 1000  # a file or another program has no edge to fold at
    console.print(shown)

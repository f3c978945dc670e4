"""The page of `benchmarks.distillation`: tables from its results, and what they decide."""

from statistics import mean, stdev

from scipy.stats import t

NAMES = {
    "none": "no teacher",
    "soft": "soft",
    "soft, as written": "soft, lambda 0.1 and tau 3",
    "hard": "hard",
    "token": "hard, with token",
    "token, transformer": "hard, with token, from a transformer",
}
QUESTIONS = (  # in the paper's order: the first of each is the better one there
    ("soft", "none", "a teacher's soft answers help"),
    ("hard", "none", "a teacher's hard answers help"),
    ("hard", "soft, as written", "hard answers teach more than the paper's soft ones"),
    ("hard", "soft", "hard answers teach more than soft ones, each with the settings chosen here"),
    ("token", "hard", "a token of its own makes more of hard answers"),
    ("token", "none", "the whole method helps"),
    ("token", "token, transformer", "a convnet teaches more than a transformer"),
)
HEAD = """\
# Distillation on two cores

DeiT's comparisons (Touvron et al. 2021, arXiv:2012.12877, tables 2 and 3) at a small scale, made by
`python -m benchmarks.distillation`: one run of `patchword train` a cell. Measured on: {made}.

All students of a data set take equally many steps, those that fit in {seconds:.0f} seconds of
training without a teacher. Settings were chosen at half of these steps, on {held:.0%} of the
training pictures, held out; the test pictures chose nothing. {seeds} random seeds, of weights,
order and augmentation: each seed's students see the same pictures in the same order, whoever
teaches them. A data set has one convnet and one transformer as teachers, each trained in
{minutes:.0f} minutes; what another seed of theirs would change is in no interval. Accuracy is
top-1 on the test pictures; differences are paired by seed, with the 95 % interval of Student's t.
A difference whose interval holds 0 is not resolved.
"""
SECTION = """
## {name}

{steps}. Seconds: of training without the teacher, and of waiting for pictures and for a teacher's
answers, which a later run only reads.

"""


def share(value):
    return f"{100 * value:.2f}"


def average(values):
    """Write a mean over seeds, and the seeds."""
    return f"{share(mean(values))} ({', '.join(map(share, values))})"


def paired(ours, theirs):
    """Return the mean of paired differences, and half its 95 % interval; None of a single pair."""
    apart = [a - b for a, b in zip(ours, theirs, strict=True)]
    if len(apart) < 2:
        return mean(apart), None
    half = t.ppf(0.975, len(apart) - 1) * stdev(apart) / len(apart) ** 0.5
    return mean(apart), float(half)


def difference(ours, theirs):
    """Write a paired difference in points, its interval, and whether it is resolved."""
    if not ours or len(ours) != len(theirs):
        return "", ""
    middle, half = paired(ours, theirs)
    if half is None:
        return f"{100 * middle:+.2f}", "not resolved: one seed"
    low, high = middle - half, middle + half
    verdict = "higher" if low > 0 else "lower" if high < 0 else "not resolved"
    return f"{100 * middle:+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]", verdict


class Results:
    """What is known, looked up by set and method."""

    def __init__(self, found):
        self.found, self.cells = found, found["cells"]

    def seeds(self, where, method, larger=0):
        """Return a method's cells by seed, all of them or none."""
        end = f", {larger} pixels" if larger else ""
        names = [f"{where['key']}/{method}/{seed}{end}" for seed in range(self.found["seeds"])]
        return [self.cells[n] for n in names] if all(n in self.cells for n in names) else []

    def top1(self, where, method, larger=0):
        return [cell["scores"]["test"]["top1"] for cell in self.seeds(where, method, larger)]


def table(columns, rows):
    """Return a Markdown table; numbers are on the right but in the first column."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    lines = [columns, rule, *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def heads(cells):
    """Return the scores of either token alone, where there are two."""
    names = ("label", "distillation")
    found = [cell["scores"]["test"].get("heads", {}) for cell in cells]
    return ["" if not all(found) else share(mean(f[n]["top1"] for f in found)) for n in names]


def students(results, where, larger=0):
    """Return the rows of a set's students."""
    untaught, rows = results.top1(where, "none", larger), []
    for method in where["methods"]:
        cells, top1 = results.seeds(where, method, larger), results.top1(where, method, larger)
        if not cells:
            continue
        said = [cell["scores"]["test"].get("teacher") for cell in cells]
        agree = share(mean(s["agreement"]["student"] for s in said)) if all(said) else ""
        own = mean(cell["seconds"] - cell["waited"] for cell in cells)
        asked = mean(cell["waited"] for cell in cells)
        apart = ("", "") if method == "none" else difference(top1, untaught)
        rows.append(
            [
                *(NAMES[method], average(top1), *apart, *heads(cells), agree),
                *(f"{own:.0f}", f"{asked:.0f}"),
            ]
        )
    return rows


def teachers(results, where):
    """Return the rows of a set's teachers."""
    rows = []
    for kind in ("convnet", "transformer"):
        cell = results.cells.get(f"{where['key']}/teachers/{kind}")
        if cell is not None:
            test = cell["scores"]["test"]
            low, high = test["interval"]
            words = cell["words"]
            side = f" at {words['image_size']} pixels" if "image_size" in words else ""
            top1 = f"{share(test['top1'])} [{share(low)}, {share(high)}]"
            who = f"{kind}: {words['model']}{side}"
            rows.append([who, top1, f"{cell['steps']:,}", f"{cell['seconds']:.0f}"])
    return rows


def answers(results, where):
    """Return what the paper's order becomes: each comparison, and whether it is resolved."""
    rows = []
    for ours, theirs, claim in QUESTIONS:
        if {ours, theirs} <= set(where["methods"]):
            apart, verdict = difference(results.top1(where, ours), results.top1(where, theirs))
            said = {"higher": "yes", "lower": "no: the other way round"}.get(verdict, verdict)
            rows.append([claim, apart, said])
    return [row for row in rows if row[1]]


def resolutions(results, where):
    """Return the rows of students before and after fine-tuning at a higher resolution."""
    rows = []
    for method in where["methods"]:
        before = results.top1(where, method)
        after = results.top1(where, method, where["larger"])
        if after:
            rows.append([NAMES[method], average(before), average(after)])
            rows[-1] += difference(after, before)
    return rows


def between(results, where):
    """Say how the best student compares with the untaught one after fine-tuning."""
    after = {method: results.top1(where, method, where["larger"]) for method in where["methods"]}
    best = next((method for method, top1 in after.items() if top1 and method != "none"), None)
    if best is None:
        return ""
    apart = ", ".join(difference(after[best], after["none"]))
    return f"\n{NAMES[best].capitalize()} over no teacher, after it: {apart}.\n"


def chosen(results, where):
    """Return the choices of a set, the best of each in bold."""
    rows = []
    for choice in results.found["choices"]:
        if choice["group"] == where["key"]:
            options = [
                f"**{name}: {share(top1)}**" if name == choice["best"] else f"{name}: {share(top1)}"
                for name, top1 in choice["scores"].items()
            ]
            rows.append([choice["what"], "; ".join(options)])
    return rows


def section(results, where):
    """Draw a set's tables."""
    cells = results.seeds(where, "none")
    steps = f"{cells[0]['steps']:,} steps of {cells[0]['batch_size']}" if cells else "Not there yet"
    columns = ["student", "top-1 (seeds)", "over no teacher", "", "class token", "its own token"]
    columns += ["agrees with teacher", "seconds", "waited"]
    words = SECTION.format(name=where["name"], steps=steps)
    parts = [words, table(columns, students(results, where))]
    more = [
        ("The teachers themselves", ["teacher", "top-1", "steps", "seconds"], teachers),
        ("Whether the paper's order holds", ["claim", "difference", "holds"], answers),
        ("Chosen on held-out training pictures", ["of", "top-1 by option"], chosen),
    ]
    if where["larger"]:
        columns = ["student", "before", "after", "difference", ""]
        title = f"After fine-tuning at {where['larger']} pixels"
        more.insert(2, (title, columns, resolutions))
    for title, columns, rows in more:
        found = rows(results, where)
        if found:
            parts.append(f"\n### {title}\n\n{table(columns, found)}")
        if found and rows is resolutions:
            parts.append(between(results, where))
    return "".join(parts)


def page(found):
    """Draw the page from results."""
    results = Results(found)
    head = HEAD.format(
        made=found["made"],
        seconds=found["student_seconds"],
        held=found["held"],
        seeds=found["seeds"],
        minutes=found["teacher_minutes"],
    )
    more = "" if found["whole"] else "\n**Not all cells are there yet.**\n"
    return head + more + "".join(section(results, where) for where in found["fields"])

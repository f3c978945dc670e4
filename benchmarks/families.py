"""What families reach in the same minutes, on the same data, by the same recipe.

    python benchmarks/families.py DATA --minutes 2.5 [--models NAME ...] [--out FOLDER] [--page]

Each is trained from scratch, one after the other, as `patchword train DATA --model NAME` does
with `--minutes`; nothing else should run meanwhile. Finished ones are not trained again. The table
is written to OUT/table.md, and with --page to docs/same-minutes.md.
"""

import argparse
import json
from pathlib import Path

import patchword as pw
from patchword import catalogue
from patchword.engine.run import Run
from patchword.training.settings import stored
from tests.parity.page import measured

MODELS = (
    "vit_mini_patch4_32",
    "resnet18",
    "cait_mini_patch4_32",
    "convit_mini_patch4_32",
    "cvt_mini_32",
    "localvit_mini_patch4_32",
    "pit_mini_patch4_32",
    "pvt_v2_mini_32",
    "swin_mini_patch2_32",
)
PAGE = Path(__file__).parents[1] / "docs" / "same-minutes.md"
HEAD = """\
# Families in the same minutes

{minutes:g} minutes of training each on {data}, from scratch, by `python benchmarks/families.py`:
`patchword train DATA --model NAME --minutes {minutes:g} --image-size 32`, nothing else running, one
seed. What a family reaches in so short a time says as much about its speed on this machine as about
what it learns from an image: the images that it had time to see stand beside it. Measured on:
{made}.

| model | parameters | images seen | test top-1 | 95 % interval |
| --- | ---: | ---: | ---: | --- |
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--models", nargs="*", default=MODELS)
    parser.add_argument("--out", type=Path, default=Path("runs/families"))
    parser.add_argument("--page", action="store_true")
    given = parser.parse_args()
    data = Path(given.data).resolve().name
    lines = [HEAD.format(minutes=given.minutes, data=data, made=measured())]
    for name in given.models:
        run = pw.train(
            given.data, out=given.out / name, model=name, minutes=given.minutes, image_size=32
        )
        scores = json.loads((run.path / "scores.json").read_text(encoding="utf-8"))["test"]
        settings, figures = stored(run.path), catalogue.entry(name).figures
        seen = Run(run.path).rows()[-1]["step"] * settings.recipe.batch_size
        low, high = scores["interval"]
        lines.append(
            f"| `{name}` | {figures.parameters / 1e6:.2f} M | {seen:,} "
            f"| {scores['top1']:.2%} | {low:.1%} to {high:.1%} |\n"
        )
        (given.out / "table.md").write_text("".join(lines), encoding="utf-8")
    print("".join(lines))
    if given.page:
        PAGE.write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()

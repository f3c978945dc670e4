"""How much of a model's time is products of matrices and convolutions, which all have to take.

    python -m benchmarks.products [--only 'swin*'] [--mode forward|step]

For each model of zoo.py, forward in the form for inference and in bf16 whole, or in a step of a
training under autocast, torch's profiler is asked how much of the time goes to products: oneDNN's
matrix products and convolutions, which both sides of a race call, with the activations and sums
that ours take along. Were all else free, a model's ratio could grow by 1 over that share and no
further. As in a race, freed memory is kept: pages made anew would count as products.
Rows gather in benchmarks/products.json, and `python -m benchmarks.zoo --page` draws them.
"""

import argparse
import time
from dataclasses import replace
from fnmatch import fnmatchcase

from torch.profiler import ProfilerActivity, profile

from benchmarks.duel import Side, Way, keep, seconds
from benchmarks.zoo import MODELS, PRODUCTS
from patchword import memory, models
from patchword.heads.classify import classifier
from patchword.layers import for_inference
from patchword.training.origin import processor
from tests.parity.peer import CLASSES, varied

PARTS = ("pointwise", "mkldnn_convolution", "convolution_backward", "bmm", "addmm", "aten::mm")
CALLS, BATCH = 5, 8


def measured(name, change, mode):
    """Return a row: milliseconds of a pass or a step, and the share that products have of them."""
    config, train = replace(models.config(name), **change), mode == "step"
    model = classifier(config.build(), CLASSES).eval()
    way = Way("bf16" if train else "bf16 whole", True)
    side = Side(model if train else for_inference(model), way, varied(config, BATCH), train=train)
    for _ in range(3):
        side.call()
    spent = seconds(side)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(CALLS):
            side.call()
    events = [(event.key, event.self_cpu_time_total) for event in seen.key_averages()]
    products = sum(took for key, took in events if any(part in key for part in PARTS))
    on = f"{time.strftime('%Y-%m-%d')}, {processor()}"
    facts = {"model": name, "compiled": False, "mode": mode, "peer": "", "on": on}
    return facts | {"ms": 1e3 * spent, "share": products / sum(took for _, took in events)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="*", help="a pattern of model names")
    parser.add_argument("--mode", choices=("forward", "step"), default="forward")
    given = parser.parse_args()
    for name in [n for n in MODELS if fnmatchcase(n, given.only)]:
        with memory.kept():
            row = measured(name, MODELS[name], given.mode)
        print(f"{name:36} {row['ms']:6.0f} ms {row['share']:.0%}", flush=True)
        keep(row, PRODUCTS)


if __name__ == "__main__":
    main()

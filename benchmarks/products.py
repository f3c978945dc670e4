"""How much of a forward pass is products of matrices and convolutions, which no one can do without.

    python -m benchmarks.products [--only 'swin*']

For each model of zoo.py, in the form for inference and in bf16 whole, torch's profiler is asked how
much of the time goes to products: oneDNN's matrix products and convolutions, which both sides of a
race call, with the activations and sums that ours take along. Were all else free, a model's ratio
could grow by 1 over that share and no further.
Rows gather in benchmarks/products.json, and `python -m benchmarks.zoo --page` draws them.
"""

import argparse
import time
from dataclasses import replace
from fnmatch import fnmatchcase

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.duel import Side, Way, keep, seconds
from benchmarks.zoo import MODELS, PRODUCTS
from patchword import models
from patchword.heads.classify import classifier
from patchword.layers import for_inference
from patchword.training.origin import processor
from tests.parity.peer import CLASSES, varied

PARTS = ("pointwise", "mkldnn_convolution", "bmm", "addmm", "aten::mm")
CALLS, BATCH = 5, 8


@torch.inference_mode()
def measured(name, change):
    """Return a row: milliseconds of a pass, and the share that products have of them."""
    config = replace(models.config(name), **change)
    model = for_inference(classifier(config.build(), CLASSES).eval())
    side = Side(model, Way("bf16 whole", True), varied(config, BATCH), train=False)
    for _ in range(3):
        side.call()
    spent = seconds(side)
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        for _ in range(CALLS):
            side.call()
    events = [(event.key, event.self_cpu_time_total) for event in seen.key_averages()]
    products = sum(took for key, took in events if any(part in key for part in PARTS))
    on = f"{time.strftime('%Y-%m-%d')}, {processor()}"
    facts = {"model": name, "compiled": False, "mode": "forward", "peer": "", "on": on}
    return facts | {"ms": 1e3 * spent, "share": products / sum(took for _, took in events)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="*", help="a pattern of model names")
    given = parser.parse_args()
    for name in [n for n in MODELS if fnmatchcase(n, given.only)]:
        row = measured(name, MODELS[name])
        print(f"{name:36} {row['ms']:6.0f} ms {row['share']:.0%}", flush=True)
        keep(row, PRODUCTS)


if __name__ == "__main__":
    main()

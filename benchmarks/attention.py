"""Where on this processor attention is fastest fused, and where as two products and a softmax.

    python benchmarks/attention.py

Shapes of ViT, Swin, BEiT and LeViT, in fp32 and bf16, forward alone and with its backward pass;
turn by turn, medians of the rounds. `Attend` should choose the faster column (layers/attention.py).
"""

import time
from statistics import median

import torch
import torch.nn.functional as F

from patchword.layers import Attend
from patchword.training.origin import processor

SHAPES = {  # images, heads, tokens, channels of queries and of values, whether there is a bias
    "mini ViT": (16, 4, 65, 32, 32, False),
    "ViT-S": (8, 6, 197, 64, 64, False),
    "ViT-S at 384": (2, 6, 577, 64, 64, False),
    "ViT-S at 512": (1, 6, 1025, 64, 64, False),
    "ViT-S at 768": (1, 6, 2305, 64, 64, False),
    "BEiT-B": (4, 12, 197, 64, 64, True),
    "Swin-T": (4, 192, 49, 32, 32, True),
    "LeViT-256": (8, 4, 196, 32, 64, True),
}
ROUNDS = 7
SECONDS = 0.15


def products(q, k, v, bias):
    """Attend by products."""
    return Attend().weights(q, k, v, bias) @ v


def fused(q, k, v, bias):
    """Attend by torch's kernel."""
    return F.scaled_dot_product_attention(q, k, v, bias)


WAYS = (fused, products)


def milliseconds(attend, inputs, *, train):
    """Return the time of one call, over a block of them."""
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        out = attend(*inputs)
        if train:
            out.sum().backward()
        count += 1
    return 1e3 * (time.perf_counter() - start) / count


def main():
    print(f"{processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{'':14} {'':5} {'':8} {'fused':>8} {'products':>9}   Attend takes")
    for name, (b, h, n, c, e, biased) in SHAPES.items():
        for dtype in (torch.float32, torch.bfloat16):
            for train in (False, True):
                q, k, v = (
                    torch.randn(b, n, h, width, dtype=dtype).transpose(1, 2).requires_grad_(train)
                    for width in (c, c, e)
                )
                bias = torch.randn(1, h, n, n, dtype=dtype, requires_grad=train) if biased else None
                with torch.inference_mode(not train):
                    rounds = [
                        [
                            milliseconds(way, (q, k, v, bias), train=train)
                            for way in (fused, products)
                        ]
                        for _ in range(ROUNDS)
                    ]
                    taken = "products" if Attend().unfused(q, k, v, bias) else "fused"
                shown = " ".join(f"{median(way):8.2f}" for way in zip(*rounds, strict=True))
                kind = "step" if train else "forward"
                print(f"{name:14} {str(dtype)[6:]:8} {kind:8} {shown}   {taken}", flush=True)


if __name__ == "__main__":
    main()

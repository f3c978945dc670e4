"""Fresh weights, the ways papers make them: `model.apply(truncated)`."""

from torch import nn


def truncated(module: nn.Module) -> None:
    """Linear weights normal with deviation 0.02, biases zero (BERT, DeiT, Swin).

    The papers say truncated. Their code cuts at plus and minus 2, not at two deviations, so the
    cut never bites there, nor here. Convolutions keep torch's start, as in that code.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:  # pyright: ignore[reportUnnecessaryComparison]
            nn.init.zeros_(module.bias)


def xavier(module: nn.Module) -> None:
    """Linear weights Xavier-uniform, patches LeCun-normal, biases zero (the JAX ViT).

    A fused projection of queries, keys and values is three matrices, each with fans of its own.
    """
    if isinstance(module, nn.Linear):
        fan_out, fan_in = module.weight.shape
        fused = fan_out % 3 == 0 and fan_out // 3 == fan_in
        bound = (6 / (fan_in + fan_out / (3 if fused else 1))) ** 0.5
        nn.init.uniform_(module.weight, -bound, bound)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        lecun(module)


def lecun(module: nn.Conv2d) -> None:
    """Kernel from a normal cut at two deviations, of variance 1 / fan-in after the cut."""
    std = module.weight[0].numel() ** -0.5 / 0.87962566103423978
    nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)
    if module.bias is not None:
        nn.init.zeros_(module.bias)

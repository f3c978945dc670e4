"""Tiny models of other projects, every tensor moved away from its start."""

import torch

SIZE = {"embed_dim": 32, "depth": 2, "num_heads": 4}
CLASSES = ("ant", "bee", "cat", "dog", "elk")


def moved(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def timm_model(name, **settings):
    import timm

    return moved(timm.create_model(name, num_classes=len(CLASSES), **settings))


def transformers_model(kind, **settings):
    """Make a ViT or DeiT of transformers, by the name of its class."""
    import transformers

    config = getattr(transformers, kind.partition("For")[0] + "Config")(
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
        **{"intermediate_size": 64, "image_size": 32, "patch_size": 8, "layer_norm_eps": 1e-6},
        id2label=dict(enumerate(CLASSES)),
        label2id={name: i for i, name in enumerate(CLASSES)},
        **settings,
    )
    return moved(getattr(transformers, kind)(config))


def images(size=(32, 32), channels=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, channels, *size, generator=generator)


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5 * wanted.abs().max().item())

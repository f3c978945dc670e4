"""ResNet beside timm's, torchvision's and transformers'."""

from patchword.models.resnet import ResNetConfig
from tests.parity.peer import Peer, outputs

TINY = {
    "basic": ResNetConfig(
        image_size=(32, 24), stem_dim=8, embed_dim=(8, 16), depth=(1, 2), block="basic"
    ),
    "bottleneck": ResNetConfig(
        image_size=(36, 49),
        in_chans=2,
        stem_dim=8,
        embed_dim=(16, 24, 32),
        depth=(2, 1, 1),
        block="bottleneck",
    ),
}
FIXED = ()

QUICK = {
    "resnet18": {"image_size": (64, 96)},
    "resnet50": {"image_size": (65, 47), "depth": (1, 2, 1, 1)},
}
GOLDENS = {}


def peers(name, config, num_classes):
    return [
        lambda: timm_s(name, config, num_classes),
        lambda: torchvision_s(config, num_classes),
        lambda: transformers_s(config, num_classes),
    ]


def timm_s(name, config, num_classes):
    import timm

    model = timm.create_model(
        name, num_classes=num_classes, in_chans=config.in_chans, layers=config.depth
    )
    return Peer(label="timm", model=model, format="timm", see=see_layers)


def torchvision_s(config, num_classes):
    from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

    block = BasicBlock if config.block == "basic" else Bottleneck
    model = ResNet(block, config.depth, num_classes)
    return Peer(label="torchvision", model=model, format="torchvision", see=see_layers)


def see_layers(model, batch):
    layers = {f"stages.{i}": getattr(model, f"layer{i + 1}") for i in range(4)}
    with outputs(layers) as seen:
        logits = model(batch)
    return logits, {**seen, "final": seen["stages.3"]}


def transformers_s(config, num_classes):
    import transformers

    theirs = transformers.ResNetConfig(
        num_channels=config.in_chans,
        embedding_size=config.stem_dim,
        hidden_sizes=config.embed_dim,
        depths=config.depth,
        layer_type=config.block,
        num_labels=num_classes,
    )
    model = transformers.ResNetForImageClassification(theirs)

    def see(model, batch):
        stages = {f"stages.{i}": stage for i, stage in enumerate(model.resnet.encoder.stages)}
        with outputs(stages) as seen:
            logits = model(batch).logits
        return logits, seen

    return Peer(label="transformers", model=model, format="transformers", see=see, root="resnet.")

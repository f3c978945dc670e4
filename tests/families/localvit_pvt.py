"""LocalViT-PVT beside its authors' own tensors."""

from dataclasses import asdict

from patchword.models.localvit_pvt import LocalPVTConfig
from tests.families import pvt
from tests.parity.golden import of_classifier


def local(config):
    """Return a PVT's settings as those of its local form."""
    return LocalPVTConfig(**asdict(config))


TINY = {kind: local(config) for kind, config in pvt.TINY.items()}
FIXED = pvt.FIXED
QUICK = {}


def peers(name, config, num_classes):
    return []


GOLDENS = {
    "orig_localvit_pvt_": of_classifier(
        "localvit_pvt", "authors", lambda golden: local(pvt.config(golden))
    )
}

"""Models on the Hugging Face Hub: kept copies first, the network only for what is not there.

`hf:ORG/NAME`, `hf:ORG/NAME@REVISION`, timm's own `hf-hub:ORG/NAME`, and `timm/NAME`.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from patchword.errors import MissingExtra, WeightsError

ID = re.compile(r"(?:(?:hf|hf-hub):([\w.-]+/[\w.-]+)|(timm/[\w.-]+))(?:@([\w./-]+))?")
BESIDE = ["config.json", "preprocessor_config.json", "README.md", "LICENSE*"]  # and the terms
WEIGHTS = (  # what is fetched, the first that there is
    ["model.safetensors", "model-*-of-*.safetensors", "model.safetensors.index.json"],
    ["pytorch_model.bin", "pytorch_model-*-of-*.bin", "pytorch_model.bin.index.json"],
    ["open_clip_model.safetensors"],
)


@dataclass(frozen=True)
class HubId:
    """A repository of models, perhaps at one revision."""

    repository: str
    revision: str | None = None  # a branch, a tag or a commit; the main branch if None

    def __str__(self) -> str:
        """Show it as it is typed."""
        return f"hf:{self.repository}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True)
class Snapshot:
    """The files of a repository as they were at one commit."""

    folder: Path
    commit: str


def hub_id(source: str) -> HubId | None:
    """Read the name of a model on the Hub; None if this is not one."""
    found = ID.fullmatch(source)
    return None if found is None else HubId(found[1] or found[2], found[3])


def snapshot(wanted: HubId) -> Snapshot:
    """Return a model's files: the kept copy, or, where there is none, a fresh one.

    Raises:
        MissingExtra: huggingface_hub is not installed.
        WeightsError: there is no copy, and the Hub cannot be reached or has no such model.
    """
    for kept in (True, False):
        for files in WEIGHTS:
            folder = _folder(wanted, files, kept=kept)
            if folder is None:
                break
            if any(next(folder.glob(pattern), None) for pattern in files):
                return Snapshot(folder, folder.name)
    raise WeightsError(f"{wanted} has none of {', '.join(files[0] for files in WEIGHTS)}")


def _folder(wanted: HubId, files: list[str], *, kept: bool) -> Path | None:
    """Return where a model's files are; None where only kept ones are asked for, and none are."""
    try:
        import huggingface_hub
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError
    except ImportError:
        raise MissingExtra("the Hub needs huggingface_hub: install patchword[hub]") from None
    try:
        folder = huggingface_hub.snapshot_download(
            wanted.repository,
            revision=wanted.revision,
            allow_patterns=[*BESIDE, *files],
            local_files_only=kept,
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        if kept:
            return None
        reason = str(error).strip().splitlines()[0]
        raise WeightsError(f"{wanted} is not kept here, and cannot be fetched: {reason}") from None
    return Path(folder)

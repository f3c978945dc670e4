"""Write down which trained weights timm and transformers list for our models.

    python -m tests.known_sources

The facts are those of the installed packages; nothing is fetched. A licence that they do not state
is "unknown". Of transformers' the place alone is known; how pixels are prepared is the family's
habit there, and what lies beside the weights decides when they are read.
"""

import json
import re
from pathlib import Path

from patchword import models
from patchword.files import write_text
from patchword.sources import store

EXAMPLE = re.compile(r'auto_docstring\(checkpoint="([\w.-]+/[\w.-]+)"\)')


def of_timm(name: str) -> list[dict]:
    """Return timm's weights of a name that are on the Hub, its default first."""
    import timm
    from timm.models import get_pretrained_cfg

    if not timm.is_model(name):
        return []
    tags = [f.partition(".")[2] for f in timm.list_pretrained(f"{name}.*")]
    default = get_pretrained_cfg(name)
    first = default.tag if default else ""
    found = []
    for tag in sorted(tags, key=lambda tag: (tag != first, tag)):
        about = get_pretrained_cfg(f"{name}.{tag}")
        if about is None or not about.hf_hub_id or about.hf_hub_filename:
            continue
        channels, *size = about.input_size
        if channels != 3 or about.interpolation not in ("bilinear", "bicubic"):
            continue
        found.append(
            {
                "source": f"hf:{about.hf_hub_id}",
                "listed": "timm",
                "licence": about.license or "unknown",
                "num_classes": about.num_classes,
                "image_size": size,
                "mean": list(about.mean),
                "std": list(about.std),
                "crop": about.crop_pct,
                "interpolation": about.interpolation,
            }
        )
    return found


def of_transformers() -> dict[str, str]:
    """Return the ids that transformers' configurations name as theirs, by our names."""
    import transformers

    found = {}
    for path in sorted(Path(transformers.__file__).parent.glob("models/*/configuration_*.py")):
        for place in EXAMPLE.findall(path.read_text(encoding="utf-8")):
            name = place.partition("/")[2].replace("-", "_").lower()
            if name in models.index():
                found[name] = place
    return found


def main() -> None:
    """Write the file."""
    theirs = of_transformers()
    table = {}
    for name in sorted(models.index()):
        sources = of_timm(name)
        if name in theirs:
            frame = models.family(name).PREPROCESSING
            sources.append(
                {
                    "source": f"hf:{theirs[name]}",
                    "listed": "transformers",
                    "licence": "unknown",
                    "num_classes": None,
                    "image_size": list(models.config(name).image_size),
                    "mean": list(frame.mean),
                    "std": list(frame.std),
                    "crop": frame.crop,
                    "interpolation": frame.interpolation,
                }
            )
        if sources:
            table[name] = sources
    lines = [
        f" {json.dumps(name)}: [\n  " + ",\n  ".join(map(json.dumps, sources)) + "\n ]"
        for name, sources in table.items()
    ]
    write_text(store(), "{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{len(table)} models, {sum(map(len, table.values()))} sources: {store()}")


if __name__ == "__main__":
    main()

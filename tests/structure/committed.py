"""What no committed file may mention: where packages come from, and places on one machine."""

import re
import subprocess
from pathlib import Path

NOT_TO_MENTION = {
    "a package index": re.compile(r"\b(pypi|pythonhosted|npmjs|(download|data)\.pytorch)\.org"),
    "a place on a machine": re.compile(r"(?<![\w.~/-])/(work|tmp|root|home|opt|Users|mnt)/\w"),
}


def mentions(root: Path) -> list[str]:
    """List each line of a committed text file that mentions one of the above."""
    faults = []
    for path in committed(root):
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a picture
        for number, line in enumerate(lines, 1):
            for what, pattern in NOT_TO_MENTION.items():
                if pattern.search(line):
                    faults.append(f"{path.relative_to(root).as_posix()}:{number}: names {what}")
    return faults


def committed(root: Path) -> list[Path]:
    """List the files that git keeps or would keep; outside a repository, all."""
    if not (root / ".git").exists():
        return sorted(path for path in root.rglob("*") if path.is_file())
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
        text=True,
    )
    return sorted(path for name in listed.stdout.split("\0") if (path := root / name).is_file())

"""What each head brings to be tested by: one file per head, called as it is.

A file holds

    TINY      kind -> (a tiny backbone's config, the head's config); at least one per part
    PEERS     name -> what makes a live reference (tests/heads/peer.py; of objects: sets.py)
    WHOLE     pattern of models' names -> library -> what makes its one of two configs and a number
              of classes; where there is one (tests/heads/whole.py)
    GOLDENS   the beginning of a golden's name -> its reader (tests/parity/goldens.py)
"""

import importlib
from pathlib import Path

TOOLS = ("conftest", "differences", "made", "packaged", "peer", "sets", "whole")
HEADS = {
    path.stem: importlib.import_module(f"{__name__}.{path.stem}")
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py"))
    if not path.stem.startswith("test_") and path.stem not in TOOLS
}

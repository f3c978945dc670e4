"""What each family of models brings to be tested by: one file per family, called as it is.

A file holds

    TINY      kind -> a tiny config; at least one per part that the family can have
    FIXED     kinds whose forward pass refuses images of another size than their config's
    peers     a function of (name, config, num_classes): what makes the live references of a config
    QUICK     name -> changes to its config, small enough for the default tests
    GOLDENS   the beginning of a golden's name -> its reader (tests/parity/goldens.py)

and nothing else changes: the contract and the parity tests read the folder.
"""

import importlib
from pathlib import Path

FAMILIES = {
    path.stem: importlib.import_module(f"{__name__}.{path.stem}")
    for path in sorted(Path(__file__).parent.glob("[a-z]*.py"))
}

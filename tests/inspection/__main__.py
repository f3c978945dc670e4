"""`python -m tests.inspection`: how far every measure is from the same by other means.

A row a check, the very ones of `test_checks.py`: the largest difference, as a share of the largest
value of the other side.
"""

import sys
from importlib.metadata import PackageNotFoundError, version

from tests.inspection.checks import CHECKS, LIBRARIES, difference


def main() -> int:
    """Print the table; return 1 where something differs."""
    print(f"{'check':52} {'reference':20} {'difference':>10} {'tolerance':>10}  verdict")
    failed = 0
    for name, check in CHECKS.items():
        reference, verdict, found = check.reference, "pass", ""
        try:
            if check.reference in (*LIBRARIES, "numpy"):
                reference = f"{check.reference} {version(check.reference)}"
            largest = difference(check)
            found = f"{largest:.1e}"
            if not largest <= check.tolerance:
                verdict = "FAIL"
                failed += 1
        except PackageNotFoundError:
            verdict = "not installed"
        row = f"{name:52} {reference:20} {found:>10} {check.tolerance:>10.0e}  {verdict}"
        print(row, flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())

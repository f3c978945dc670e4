"""`python -m patchword`: the command line."""

import sys

from patchword.cli import main

if __name__ == "__main__":
    sys.exit(main())

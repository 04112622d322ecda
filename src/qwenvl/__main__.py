"""`python -m qwenvl` is the `qwenvl` command."""

import sys

from qwenvl.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m nnrecipe` is the command `nnrecipe`."""

import sys

from nnrecipe.cli import main

if __name__ == "__main__":
    sys.exit(main())

"""``python -m fluorojax`` is the command ``fluorojax``."""

import sys

from fluorojax.cli import main

if __name__ == "__main__":
    sys.exit(main())

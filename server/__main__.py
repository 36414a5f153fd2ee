"""`python -m server` is the `tidegate` command."""

import sys

from server.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())

"""`python -m server` is the `tidegate` command."""

from server.cli import main

if __name__ == "__main__":
    main()

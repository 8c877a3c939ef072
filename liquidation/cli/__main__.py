"""`python -m liquidation.cli` is the `liquidation` command."""

from liquidation.cli import main

if __name__ == "__main__":
    main()

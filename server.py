"""Starts the service: `python server.py` is `liquidation serve`."""

import sys

from liquidation.cli import main

if __name__ == "__main__":
    main(["serve", *sys.argv[1:]])

"""The service with shorter days: `python short_days.py SECONDS FLAG...` is `server.py FLAG...`.

Ended claims are kept for whole days, so no run would see them go. Everything else is as it is.
"""

import sys

from liquidation.cli import main
from liquidation.rules import policy

# Workers import this file again, with the same arguments, before they do anything.
_, _day_s, *_flags = sys.argv
vars(policy)["_DAY_S"] = int(_day_s)

if __name__ == "__main__":
    main(["serve", *_flags])

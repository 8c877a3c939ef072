"""What the drains of both transports have in common."""

import time
from collections.abc import Callable
from typing import Final

# How often it is looked whether calls still come while a drain begins, in seconds, how many looks
# in a row have to see none, and how many there are at most: callers that wait for no answer must
# not hold up the end. One look is not enough: on a busy machine calls that have come may wait to
# be seen.
LOOK_S: Final = 0.01
_QUIET_LOOKS: Final = 5
_MOST_LOOKS: Final = 50
# How long it takes at most until clients know that their connections end, in seconds.
GOODBYE_S: Final = 0.02
# How long a stream that was told to end may take until its caller has read that, in seconds.
LISTEN_S: Final = 0.5
# How long one that its handler ended may take, in seconds.
READ_S: Final = 1.0


def wait_until_quiet(arrivals: Callable[[], int], holding: Callable[[], object]) -> None:
    """Returns when no unary call has come for a moment, or too long.

    `arrivals` counts those that have come, `holding` tells whether one waits for its answer.
    """
    quiet = 0
    for _ in range(_MOST_LOOKS):
        before = arrivals()
        time.sleep(LOOK_S)
        quiet = quiet + 1 if arrivals() == before else 0
        if quiet == (_QUIET_LOOKS if holding() else 1):
            return

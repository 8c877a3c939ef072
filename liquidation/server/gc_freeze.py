"""What a server process does with Python's memory."""

import ctypes
import gc

__all__ = ["freeze_gc"]


def freeze_gc() -> None:
    """Takes what was made at the start of a server out of Python's search for garbage.

    It stays as long as the process. To search it took 20 ms, once or twice in a second of full
    load, in which no call was answered: the p99 of 64 in flight was 28 ms in place of 14.
    """
    gc.collect()
    gc.freeze()
    # What the start took and freed is given back to the system.
    ctypes.CDLL(None).malloc_trim(0)

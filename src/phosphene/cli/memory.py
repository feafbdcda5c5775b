"""Settings of malloc for the process of the command line."""

from __future__ import annotations

import ctypes


def keep_memory() -> None:
    """Let malloc keep large blocks that are freed, instead of giving them back to the system and asking again.

    A forward pass allocates and frees the same sizes again and again; returning them costs a page fault per
    4 kB. Without glibc nothing happens. For a process of one's own only: a library must not decide this for others.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mallopt(_M_TRIM_THRESHOLD, _MOST)
    mallopt(_M_MMAP_THRESHOLD, _MOST) or mallopt(_M_MMAP_THRESHOLD, _MOST_BEFORE_2_35)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_MOST, _MOST_BEFORE_2_35 = 2**31 - 1, 2**25  # mallopt takes an int, and older ones refused more than 32 MB

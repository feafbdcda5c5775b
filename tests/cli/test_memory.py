from __future__ import annotations

import ctypes

import pytest

from phosphene.cli import memory


class Calls:
    """A C library that notes what it is asked, and refuses thresholds above a size."""

    def __init__(self, most: int) -> None:
        self.most, self.asked = most, []

    def mallopt(self, option: int, value: int) -> int:
        self.asked.append((option, value))
        return int(option == -1 or value <= self.most)


@pytest.mark.parametrize(("most", "last"), [(2**31 - 1, 2**31 - 1), (2**25, 2**25)])
def test_both_thresholds_are_set_as_high_as_the_library_allows(monkeypatch, most, last):
    library = Calls(most)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    memory.keep_memory()
    assert library.asked[0] == (-1, 2**31 - 1)
    assert library.asked[-1] == (-3, last)


@pytest.mark.parametrize("library", [object(), OSError(), TypeError()])
def test_nothing_happens_elsewhere(monkeypatch, library):
    def load(_):
        if isinstance(library, Exception):
            raise library
        return library

    monkeypatch.setattr(ctypes, "CDLL", load)
    memory.keep_memory()

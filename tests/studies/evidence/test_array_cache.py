"""What is kept comes back bit for bit, or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from phosphene.core.errors import OutputError
from phosphene.studies.evidence.array_cache import ArrayCache

ARRAYS = {"values": np.arange(12, dtype=np.float16).reshape(3, 4), "peak": np.array(2.5, np.float32)}


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    kept = ArrayCache(tmp_path / "cache")
    key = kept.key("weights", 3)
    assert kept.read(key) is None
    kept.write(key, ARRAYS)
    arrays = kept.read(key)
    assert arrays is not None
    assert arrays.keys() == ARRAYS.keys()
    assert all(
        np.array_equal(arrays[name], values) and arrays[name].dtype == values.dtype for name, values in ARRAYS.items()
    )


@pytest.mark.parametrize("seed", range(20))
def test_no_flip_cut_or_growth_is_read(tmp_path: Path, seed: int) -> None:
    kept, random = ArrayCache(tmp_path), np.random.default_rng(seed)
    key = kept.key(seed)
    kept.write(key, ARRAYS)
    (path,) = (file for file in tmp_path.rglob("*") if file.is_file())
    content = bytearray(path.read_bytes())
    at = int(random.integers(len(content)))
    if seed % 4 == 0:
        del content[at:]
    elif seed % 4 == 1:
        content += b"\0"
    else:
        content[at] ^= 1 << int(random.integers(8))
    path.write_bytes(content)
    assert kept.read(key) is None


def test_keys_tell_apart_what_text_alone_would_not() -> None:
    keys = {ArrayCache.key(*parts) for parts in (("a", "bc"), ("ab", "c"), ("a", "b", "c"), (1, "2"), ("1", 2), (12,))}
    assert len(keys) == 6


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        ArrayCache(tmp_path / "cache").write("0" * 64, ARRAYS)

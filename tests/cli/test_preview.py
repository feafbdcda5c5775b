"""The preview of pictures while they are made."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch

from phosphene.cli.preview import preview
from phosphene.cli.session import Session
from phosphene.core.errors import FolderError
from phosphene.core.folder import OutputFolder
from phosphene.core.images.image import load
from phosphene.core.progress import Progress


def session() -> Session:
    return Session("dream", "default", None, "cpu", 0, None, as_json=False, quiet=True, debug=False)


def told(level: float) -> Progress:
    """A step whose picture has one grey level."""
    return Progress(1, 9, "", torch.full((1, 3, 16, 16), level), torch.zeros(1))


def test_a_new_preview_comes_every_two_seconds_and_goes_with_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, path, output = [100.0], tmp_path / "preview.png", OutputFolder(tmp_path, "dream")
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with preview(session(), "cat", output) as watch:
        shown = []
        for seconds, level in ((1.0, 0.2), (2.1, 0.4), (3.9, 0.6), (4.2, 0.8)):
            now[0] = 100.0 + seconds
            watch(told(level))
            shown.append(int(load(path).pixels.max()) if path.exists() else None)
    assert shown == [None, 102, 102, 204]
    output.publish({})
    assert not path.exists()


def test_a_foreign_preview_is_never_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, path = [100.0], tmp_path / "preview.png"
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    path.write_text("mine")
    with preview(session(), "cat", OutputFolder(tmp_path, "dream")) as watch:
        now[0] += 3
        with pytest.raises(FolderError, match=r"preview\.png was not written by phosphene"):
            watch(told(0.5))
    assert path.read_text() == "mine"

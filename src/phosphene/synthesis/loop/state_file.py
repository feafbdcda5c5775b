"""The state of a synthesis on disk: killed at any moment, it goes on to the same bytes."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import io
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from phosphene.core import files
from phosphene.core.checkpoints import weightfile
from phosphene.core.errors import CheckpointError

Stored = dict[str, Any]
"""Tensors, numbers, text, lists and dicts of them: what a file of weights may hold."""


class StateFile:
    """A file that holds the state of a synthesis. Every `seconds` it is written under another name, and renamed.

    Args:
        path: of the file; None keeps nothing.
        plan: `fingerprint` of all that decides the images: the file of another plan is ignored.
        seconds: between two writings.
    """

    def __init__(self, path: str | Path | None, plan: str, seconds: float = 3.0) -> None:
        self.path, self.plan, self.seconds = Path(path) if path else None, plan, seconds
        self.saved = time.monotonic()

    def load(self) -> Stored | None:
        """What the file holds; None where there is none, or one of another plan, or a damaged one.

        Tensors are copies: systems that do not replace a file that is mapped would refuse the next `save`.
        """
        if self.path is None or not self.path.exists():
            return None
        try:
            stored = copy.deepcopy(weightfile.read(self.path, _LIMIT).objects)
        except CheckpointError:
            return None
        return stored if isinstance(stored, dict) and stored.get("plan") == self.plan else None

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return self.path is not None and time.monotonic() - self.saved >= self.seconds

    def save(self, stored: Stored) -> None:
        """Write.

        Raises:
            OutputError: the disk is full, or the folder cannot be written.
        """
        if self.path is None:
            return
        buffer = io.BytesIO()
        torch.save({"plan": self.plan, **stored}, buffer)
        files.write(self.path, buffer.getbuffer())
        self.saved = time.monotonic()


def fingerprint(*values: object) -> str:
    """One hash of values of any depth: dataclasses by fields, modules by parts and weights, tensors by their numbers.

    Args:
        values: of a plan.

    >>> fingerprint(1, "a", torch.zeros(2)) == fingerprint(1, "a", torch.zeros(3))
    False
    """
    digest = hashlib.sha256()
    for part in _parts(values):
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()


def _parts(value: object) -> Iterator[bytes]:
    yield type(value).__qualname__.encode()
    if isinstance(value, Tensor):
        plain = value.detach().cpu().contiguous()
        yield f"{plain.dtype}{tuple(plain.shape)}".encode()
        yield plain.flatten().view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    elif isinstance(value, nn.Module):
        yield re.sub(r"\b0x[0-9a-f]+", "", repr(value)).encode()  # addresses in memory differ from run to run
        yield from _parts(value.state_dict())
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            if field.init:
                yield field.name.encode()
                yield from _parts(getattr(value, field.name))
    elif isinstance(value, Mapping):
        yield from _parts(len(value))
        for key, member in value.items():
            yield from _parts(key)
            yield from _parts(member)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        yield from _parts(len(value))
        for member in value:
            yield from _parts(member)
    else:
        yield repr(value).encode()


_LIMIT = 1 << 38

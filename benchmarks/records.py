"""Records of results: arrays, numbers and texts under names, written to a folder, and two such folders compared."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

TOLERANCE = 1e-6  # of the largest absolute value of an item
Facts = dict[Any, Any]  # name → array, number or text, or a mapping or sequence of such


def follow(value: Any, path: str) -> Any:
    """The attribute at a dotted path, called where it is a method; of a mapping or sequence that of every member."""
    if isinstance(value, Mapping):
        return {key: follow(member, path) for key, member in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [follow(member, path) for member in value]
    name, _, rest = path.partition(".")
    part = getattr(value, name)
    part = part() if callable(part) else part
    return follow(part, rest) if rest else part


def items(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """The arrays, numbers and texts in nested facts, each under a name of its own."""
    value = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value
    if isinstance(value, list | tuple) and not all(isinstance(member, str) for member in value):
        numeric = all(isinstance(member, int | float) for member in value)
        value = np.array(value) if numeric else dict(enumerate(value))
    if isinstance(value, np.ndarray) and value.dtype == object:
        texts, numbers = np.unique(value.astype(str), return_inverse=True)
        value = {"numbers": numbers, "texts": texts.tolist()}
    if not isinstance(value, Mapping):
        yield name, value.item() if isinstance(value, np.generic) else value
        return
    for key, member in value.items():
        yield from items(f"{name}/{key}", member)


def write(folder: Path, name: str, facts: Facts) -> None:
    """Write the items of a part: arrays as .npy, all else to NAME.json."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {}
    for item, value in items(name, facts):
        if isinstance(value, np.ndarray):
            (folder / item).parent.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{item}.npy", value, allow_pickle=False)
        else:
            plain[item] = value
    (folder / f"{name}.json").write_text(json.dumps(plain, indent=1, sort_keys=True))


def verdict(before: Any, after: Any) -> tuple[str, bool]:
    """How two arrays differ, and whether they count as equal."""
    if all(of(before) == of(after) for of in (np.shape, np.result_type, np.ndarray.tobytes)):
        return "same bytes", True
    if before.shape != after.shape or {before.dtype.kind, after.dtype.kind} & set("UO"):
        return " → ".join(" ".join(f"{side.shape} {side}".split())[:80] for side in (before, after)), False
    before, after = before.astype(np.float64), after.astype(np.float64)
    apart = ~((before == after) | (np.isnan(before) & np.isnan(after)))
    absolute = float(np.nan_to_num(np.abs(before - after), nan=np.inf)[apart].max(initial=0.0))
    relative = absolute / max(np.abs(before[np.isfinite(before)]).max(initial=0.0), sys.float_info.min)
    return f"{absolute:.3g}, {relative:.3g} of the largest", relative <= TOLERANCE


def read(folder: Path) -> dict[str, Any]:
    """Every item of a record."""
    arrays = {str(path.relative_to(folder).with_suffix("")): np.load(path) for path in folder.rglob("*.npy")}
    facts = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return arrays | {name: np.array(value) for part in facts for name, value in part.items()}


def compare(old: Path, new: Path) -> int:
    """Print a line for each item; 1 if one is missing or differs."""
    before, after = read(old), read(new)
    names, wrong, missing = sorted(before.keys() | after.keys()), 0, np.array("missing")
    for name in names:
        line, equal = verdict(before.get(name, missing), after.get(name, missing))
        wrong += not equal
        print(f"{name}: {line}{'' if equal else '  DIFFERS'}")
    print(f"{wrong} of {len(names)} items differ")
    return int(wrong > 0)

"""The only loader of weights: it reads tensors, runs no code, and refuses the rest in one line."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from phosphene.core import files
from phosphene.core.checkpoints import weightfile
from phosphene.core.checkpoints.weightfile import few
from phosphene.core.errors import CheckpointError


@dataclasses.dataclass(frozen=True, eq=False)
class Checkpoint:
    """The tensors of one file, by name; they lie in the file and are read when they are used.

    Args:
        state: name → tensor, on the CPU, in the order of the file.
        sha256: of the whole file, in hexadecimal.
        path: the file.
        format: "safetensors", "torch zip" or "torch legacy".
        notes: what was chosen, left out or found on the way, one line each.
    """

    state: Mapping[str, Tensor] = dataclasses.field(repr=False)
    sha256: str
    path: str
    format: str
    notes: tuple[str, ...] = ()


def load(path: str | Path, *, limit_bytes: int = 4 * 2**30) -> Checkpoint:
    """The tensors of a file of weights, whatever wrote it; nothing in the file is ever run.

    A table nested under "state_dict", "model" and the like is taken out, plain weights before averaged ones, and a
    prefix that every name shares ("module.") is dropped; the notes say so. Cost: the file is read once, for its hash.

    Args:
        path: safetensors, or what torch.save writes.
        limit_bytes: the largest file, and the largest sum of tensors, that is accepted.

    Raises:
        CheckpointError: not weights, damaged, too large, or asking for more than weights need.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> torch.save({"state_dict": {"module.weight": torch.ones(2, 3)}}, folder / "net.pth")
    >>> from phosphene.core.checkpoints import checkpoint
    >>> found = checkpoint.load(folder / "net.pth")
    >>> found.state["weight"].shape, found.format
    (torch.Size([2, 3]), 'torch zip')
    >>> found.notes
    ("took 'state_dict'", "dropped the prefix 'module.' of every name")
    """
    file = Path(path)
    found = weightfile.read(file, limit_bytes)
    state, notes = _table(file, found.objects)
    weightfile.check_tensors(file, state, found.size, limit_bytes)
    return Checkpoint(state, found.sha256, str(file), found.format, (*notes, *_remarks(state)))


def install(checkpoint: Checkpoint, module: nn.Module) -> None:
    """Put the tensors of a checkpoint in a module: all of them, or none and the module stays as it was.

    Args:
        checkpoint: as `load` returns it.
        module: whose parameters and buffers bear the same names; a prefix that all of them share does not matter.

    Raises:
        CheckpointError: names are missing or unexpected, or shapes differ.

    >>> layer = nn.Linear(3, 2)
    >>> install(Checkpoint({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, "", "ones", ""), layer)
    >>> layer.weight.sum().item()
    6.0
    >>> install(Checkpoint({"weight": torch.ones(4, 3), "bias": torch.zeros(4)}, "", "four.pth", ""), layer)
    Traceback (most recent call last):
    phosphene.core.errors.CheckpointError: four.pth does not fit Linear: 2 shapes differ (weight is (4, 3) in the file
    and (2, 3) in the network, bias is (4,) in the file and (2,) in the network); the file has 4 classes and the network
    2: pass classes=4
    """
    whole = dict(module.state_dict())
    prefix, given = _prefix(whole), checkpoint.state
    own = {name.removeprefix(prefix): value for name, value in whole.items() if isinstance(value, Tensor)}
    # The counter came with torch 0.4.1 and changes nothing in evaluation mode.
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in given if name not in own]
    differing = [name for name in own if name in given and not _fits(given[name], own[name])]
    if missing or unexpected or differing:
        faults = (
            _fault(differing, "shapes differ", lambda name: f"{name} is {_said(given[name], own[name])}"),
            _fault(missing, "missing from the file"),
            _fault(unexpected, "unknown to the network"),
        )
        pairs = [] if missing or unexpected else [(given[name].shape, own[name].shape) for name in differing]
        found = ", ".join(filter(None, faults))
        raise CheckpointError(f"{checkpoint.path} does not fit {type(module).__name__}: {found}; {_advice(pairs)}")
    module.load_state_dict(whole | {prefix + name: value for name, value in given.items()})


def save(weights: nn.Module | Mapping[str, Tensor], path: str | Path) -> Path:
    """Write weights as safetensors, whole or not at all.

    Args:
        weights: a module, or its state.
        path: ends in .safetensors.

    Raises:
        CheckpointError: another ending, or a state that holds more than tensors.
        OutputError: it cannot be written.
    """
    file = Path(path)
    if file.suffix != ".safetensors":
        raise CheckpointError(
            f"{file} would hold safetensors, whatever its ending says; name it {file.stem}.safetensors"
        )
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    more = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if more:
        raise CheckpointError(f"safetensors holds tensors only; take {few(more)} out of what goes to {file}")
    # Cloned, as safetensors refuses views and shared memory.
    tensors = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    files.write(file, safetensors.torch.save(tensors))
    return file


def _table(file: Path, found: Any) -> tuple[dict[str, Tensor], list[str]]:
    """The table of tensors in what a file holds, its wrappings taken off."""
    notes = []
    for _ in range(3):
        nests = [key for key in _NESTS if isinstance(found, Mapping) and isinstance(found.get(key), Mapping)]
        if not nests:
            break
        found, others = found[nests[0]], nests[1:]
        notes.append(f"took {nests[0]!r}" + (f", left {few(others)}" if others else ""))
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{file} holds no tensors by name but a {type(found).__name__}; save module.state_dict()")
    state = {key: value.detach() for key, value in found.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if len(state) < len(found):
        notes.append(f"left out {len(found) - len(state)} entries that are no tensors by name")
    prefix = _prefix(state)
    if prefix:
        notes.append(f"dropped the prefix {prefix!r} of every name")
    return {name.removeprefix(prefix): value for name, value in state.items()}, notes


def _remarks(state: Mapping[str, Tensor]) -> list[str]:
    """Lines about the numbers themselves: narrow types, and what is not finite."""
    floats = {name: value for name, value in state.items() if value.is_floating_point() and value.numel()}
    types = sorted({str(value.dtype).removeprefix("torch.") for value in floats.values()} - {"float32"})
    notes = [f"stored as {' and '.join(types)}"] if types else []
    # The extremes are NaN or infinite where any number is, and take no memory; float8 has none of its own.
    wide = {name: value if value.itemsize > 1 else value.float() for name, value in floats.items()}
    bad = {name: value for name, value in wide.items() if not all(end.isfinite() for end in value.aminmax())}
    count = sum(int((~value.isfinite()).sum()) for value in bad.values())
    return [*notes, f"{count:,} numbers are NaN or infinite, in {few(bad)}"] if bad else notes


def _prefix(names: Iterable[str]) -> str:
    """What wrappers such as DataParallel put before every name."""
    prefix, names = "", list(names)
    while names:
        more = next((each for each in _WRAPPERS if all(name.startswith(prefix + each) for name in names)), None)
        if more is None:
            break
        prefix += more
    return prefix


def _fits(given: Tensor, own: Tensor) -> bool:
    return given.shape == own.shape and given.is_floating_point() == own.is_floating_point()


def _said(given: Tensor, own: Tensor) -> str:
    """The two shapes, or where they are equal the two types."""
    there, here = (given.dtype, own.dtype) if given.shape == own.shape else (tuple(given.shape), tuple(own.shape))
    return f"{there} in the file and {here} in the network"


def _fault(names: list[str], what: str, say: Callable[[str], str] = str) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} {what} ({', '.join(say(name[:80]) for name in names[:3])}{more})" if names else ""


def _advice(pairs: list[tuple[torch.Size, torch.Size]]) -> str:
    """The next step; `pairs` are the shapes that differ, in the file and in the network."""
    heads = {(there[0], here[0]) for there, here in pairs if there and here and there[1:] == here[1:]}
    if len(heads) == 1 and len(pairs) <= 2:
        ((there, here),) = heads
        return f"the file has {there} classes and the network {here}: pass classes={there}"
    return "name the network that these weights were trained in"


_NESTS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
_WRAPPERS = ("module.", "_orig_mod.", "model.")

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
    """The tensors of one file, by name, memory-mapped: read from the file when they are used.

    Args:
        state: name → tensor, on the CPU, in the order of the file.
        sha256: of the whole file, in hexadecimal.
        path: the file.
        format: "safetensors", "torch zip" or "torch legacy".
        notes: one line for each choice made, entry left out or oddity met.
    """

    state: Mapping[str, Tensor] = dataclasses.field(repr=False)
    sha256: str
    path: str
    format: str
    notes: tuple[str, ...] = ()


def load(path: str | Path, *, limit_bytes: int = 4 * 2**30) -> Checkpoint:
    """The tensors of a file of weights, in any known format; no code in the file is run.

    A table nested under "state_dict", "model" and the like is used, plain weights rather than averaged ones, and a
    prefix that all names share ("module.") is dropped; the notes say so. Cost: the file is read once, for its hash.

    Args:
        path: safetensors, or what torch.save writes.
        limit_bytes: largest file, and largest sum of tensors, accepted.

    Raises:
        CheckpointError: not weights, damaged, too large, or a pickle that calls more than weights need.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> torch.save({"state_dict": {"module.weight": torch.ones(2, 3)}}, folder / "net.pth")
    >>> from phosphene.core.checkpoints import checkpoint
    >>> loaded = checkpoint.load(folder / "net.pth")
    >>> loaded.state["weight"].shape, loaded.format
    (torch.Size([2, 3]), 'torch zip')
    >>> loaded.notes
    ("took 'state_dict'", "dropped the prefix 'module.' of every name")
    """
    file = Path(path)
    content = weightfile.read(file, limit_bytes)
    state, notes = _table(file, content.objects)
    weightfile.check_tensors(file, state, content.size, limit_bytes)
    return Checkpoint(state, content.sha256, str(file), content.format, (*notes, *_remarks(state)))


def install(checkpoint: Checkpoint, module: nn.Module) -> None:
    """Copy the tensors of a checkpoint into a module: all of them, or none and the module is unchanged.

    Args:
        checkpoint: as `load` returns it.
        module: with parameters and buffers of the same names, apart from a prefix that all of them share.

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
            _fault(differing, "shapes differ", lambda name: f"{name} is {_difference(given[name], own[name])}"),
            _fault(missing, "missing from the file"),
            _fault(unexpected, "unknown to the network"),
        )
        pairs = [] if missing or unexpected else [(given[name].shape, own[name].shape) for name in differing]
        listed = ", ".join(filter(None, faults))
        raise CheckpointError(f"{checkpoint.path} does not fit {type(module).__name__}: {listed}; {_advice(pairs)}")
    module.load_state_dict(whole | {prefix + name: value for name, value in given.items()})


def save(weights: nn.Module | Mapping[str, Tensor], path: str | Path) -> Path:
    """Write weights as safetensors, atomically.

    Args:
        weights: a module, or its state.
        path: ends in .safetensors.

    Raises:
        CheckpointError: another suffix, or a state that holds more than tensors.
        OutputError: it cannot be written.
    """
    file = Path(path)
    if file.suffix != ".safetensors":
        raise CheckpointError(
            f"{file} would hold safetensors, whatever its suffix says; name it {file.stem}.safetensors"
        )
    state = weights.state_dict() if isinstance(weights, nn.Module) else weights
    more = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if more:
        raise CheckpointError(f"safetensors holds tensors only; take {few(more)} out of what goes to {file}")
    # Cloned, as safetensors refuses views and shared memory.
    tensors = {name: value.detach().cpu().clone(memory_format=torch.contiguous_format) for name, value in state.items()}
    files.write(file, safetensors.torch.save(tensors))
    return file


def _table(file: Path, content: Any) -> tuple[dict[str, Tensor], list[str]]:
    """The table of tensors in the content of a file, without the dictionaries around it and a shared prefix."""
    notes = []
    for _ in range(3):
        tables = [key for key in _TABLES if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)]
        if not tables:
            break
        content, others = content[tables[0]], tables[1:]
        notes.append(f"took {tables[0]!r}" + (f", left {few(others)}" if others else ""))
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        kind = type(content).__name__
        raise CheckpointError(f"{file} holds no tensors by name but a {kind}; save module.state_dict()")
    named = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, Tensor)}
    state = {key: value.detach() for key, value in named.items()}
    if len(state) < len(content):
        notes.append(f"left out {len(content) - len(state)} entries that are no tensors by name")
    prefix = _prefix(state)
    if prefix:
        notes.append(f"dropped the prefix {prefix!r} of every name")
    return {name.removeprefix(prefix): value for name, value in state.items()}, notes


def _remarks(state: Mapping[str, Tensor]) -> list[str]:
    """Notes on the numbers: narrow types, NaN and infinity."""
    floats = {name: value for name, value in state.items() if value.is_floating_point() and value.numel()}
    types = sorted({str(value.dtype).removeprefix("torch.") for value in floats.values()} - {"float32"})
    notes = [f"stored as {' and '.join(types)}"] if types else []
    # The extremes are NaN or infinite where any number is, and take no memory; float8 has none of its own.
    wide = {name: value if value.itemsize > 1 else value.float() for name, value in floats.items()}
    bad = {name: value for name, value in wide.items() if not all(end.isfinite() for end in value.aminmax())}
    count = sum(int((~value.isfinite()).sum()) for value in bad.values())
    return [*notes, f"{count:,} numbers are NaN or infinite, in {few(bad)}"] if bad else notes


def _prefix(names: Iterable[str]) -> str:
    """The prefix that wrappers such as DataParallel put before every name."""
    prefix, names = "", list(names)
    while names:
        more = next((part for part in _WRAPPERS if all(name.startswith(prefix + part) for name in names)), None)
        if more is None:
            break
        prefix += more
    return prefix


def _fits(given: Tensor, own: Tensor) -> bool:
    return given.shape == own.shape and given.is_floating_point() == own.is_floating_point()


def _difference(given: Tensor, own: Tensor) -> str:
    """The two shapes, or the two types where the shapes are equal."""
    there, here = (given.dtype, own.dtype) if given.shape == own.shape else (tuple(given.shape), tuple(own.shape))
    return f"{there} in the file and {here} in the network"


def _fault(names: list[str], fault: str, describe: Callable[[str], str] = str) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{len(names)} {fault} ({', '.join(describe(name[:80]) for name in names[:3])}{more})" if names else ""


def _advice(pairs: list[tuple[torch.Size, torch.Size]]) -> str:
    """The next step; `pairs` are the shapes that differ, in the file and in the network."""
    heads = {(there[0], here[0]) for there, here in pairs if there and here and there[1:] == here[1:]}
    if len(heads) == 1 and len(pairs) <= 2:
        ((there, here),) = heads
        return f"the file has {there} classes and the network {here}: pass classes={there}"
    return "name the network that these weights were trained in"


_TABLES = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema")
_WRAPPERS = ("module.", "_orig_mod.", "model.")

"""An untrusted file of weights: its format, and the objects in it, read without running any code in it.

The content decides the format, never the name. safetensors holds numbers only. What torch.save writes is a program that
builds tensors: it is read with weights_only=True, but only after its archive and the names that it calls were checked,
since otherwise a file of a kilobyte can allocate terabytes, and before anything copies its tensors.
"""

from __future__ import annotations

import pickletools
import re
import shlex
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import safetensors.torch
import torch
from torch import Tensor

from phosphene.core import files
from phosphene.core.errors import CheckpointError


class WeightFile(NamedTuple):
    """A file of weights: its format, its objects, its size in bytes and its SHA-256."""

    format: str
    objects: Any
    size: int
    sha256: str


def read(file: Path, limit: int) -> WeightFile:
    """The objects of a file; its tensors are not checked yet, see `check_tensors`.

    Args:
        file: supposed to hold weights.
        limit: largest size, in bytes.

    Raises:
        CheckpointError: not weights, damaged, too large, or a pickle that calls more than weights need.
    """
    size = _size(file, limit)
    with file.open("rb") as stream:
        form, reader = _format(file, stream.read(512), size)
        stream.seek(0)
        try:
            objects = reader(file, stream)
        except CheckpointError:
            raise
        except Exception as error:  # a hostile file can raise anything
            raise CheckpointError(
                f"{file} is a damaged {form} file: {_reason(error)}; fetch or save it again"
            ) from error
    return WeightFile(form, objects, size, files.sha256(file))


def check_tensors(file: Path, state: Mapping[str, Tensor], size: int, limit: int) -> None:
    """Refuse tensors that are larger than the bytes that store them, without reading their numbers.

    torch makes sure that the last element of a tensor lies in its storage; a tensor whose elements do not overlap is
    therefore no larger than its storage.

    Args:
        file: of the tensors, for the message.
        state: name → tensor.
        size: of the file, in bytes; no dimension of a tensor may be longer.
        limit: largest sum of all tensors, in bytes.

    Raises:
        CheckpointError: a tensor that overlaps itself, an empty one with a vast dimension, or all of them too large.
    """
    for name, value in state.items():
        assert (value.layout, value.device.type) == (torch.strided, "cpu"), "the scan allows no other"
        if max(value.shape, default=0) > size or _overlaps(value):
            room = value.untyped_storage().nbytes()
            raise CheckpointError(
                f"{name[:80]!r} in {file} claims shape {tuple(value.shape)} with {room:,} bytes behind it; "
                "call .contiguous() on it and save it again, or do not trust it"
            )
    total = sum(value.nbytes for value in state.values())
    if total > limit:
        raise CheckpointError(
            f"the tensors of {file} add up to {total:,} bytes, the limit is {limit:,}; raise limit_bytes"
        )


def _overlaps(value: Tensor) -> bool:
    """Whether two elements of a tensor share memory, as after `expand`."""
    reach = 0
    for stride, length in sorted(zip(value.stride(), value.shape, strict=True)):
        if length > 1:
            if stride <= reach:
                return True
            reach += stride * (length - 1)
    return False


def few(names: Iterable[str]) -> str:
    """The first three names, and how many more."""
    names = list(names)
    return ", ".join(repr(name[:80]) for name in names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _size(file: Path, limit: int) -> int:
    if not file.exists():
        raise CheckpointError(f"there is no file {file}; check the path")
    if not file.is_file():
        raise CheckpointError(f"{file} is a folder or a device, not a file of weights; name the file in it")
    size = file.stat().st_size
    if size == 0:
        raise CheckpointError(f"{file} is empty: the download was cut off, or the disk was full; fetch it again")
    if size > limit:
        raise CheckpointError(f"{file} has {size:,} bytes, the limit is {limit:,}; raise limit_bytes if you mean it")
    return size


def _reason(error: Exception) -> str:
    """The reason that torch gives, without its advice to run the file instead."""
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0]
    return "".join(character for character in text if character.isprintable())[:160] or type(error).__name__


_Read = Callable[[Path, BinaryIO], Any]


def _format(file: Path, head: bytes, size: int) -> tuple[str, _Read]:
    """The format, from the first bytes, and the function that reads it."""
    # First, as a safetensors file begins with a length, whose bytes may look like the start of any other format.
    header = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and header < _LONGEST_HEADER:
        if header > size - 8:
            raise CheckpointError(
                f"{file} is cut short: {size:,} bytes, {header:,} in its header alone; fetch it again"
            )
        return "safetensors", _read_safetensors
    if head.startswith(b"PK\x03\x04"):
        return "torch zip", _read_zip
    if head[:1] == b"\x80" and _MAGIC in head[:16]:
        return "torch legacy", _read_legacy
    for pattern, what in _REFUSED.items():
        if re.match(pattern, head, re.DOTALL):
            raise CheckpointError(f"{file} is {what}")
    if head[:1] == b"\x80":
        raise CheckpointError(f"{file} is a bare pickle, a program rather than weights; {_convert(file, _PICKLE)}")
    if head[257:262] == b"ustar":
        raise CheckpointError(f"{file} is a tar archive, as torch wrote before 0.1.12; {_convert(file, _TORCH)}")
    raise CheckpointError(
        f"{file} holds no weights that phosphene knows (it starts with {head[:12]!r}); "
        "it reads safetensors and what torch.save writes"
    )


def _read_safetensors(file: Path, _stream: BinaryIO) -> Any:
    return safetensors.torch.load_file(file)


def _read_zip(file: Path, stream: BinaryIO) -> Any:
    with zipfile.ZipFile(stream) as archive:
        entries = archive.infolist()
        # torch ignores case in names, and of two equal ones may take another than we do.
        names = {entry.filename.casefold() for entry in entries}
        if any(re.fullmatch(r"[^/]+/(constants\.pkl|code/.*)", name) for name in names):
            raise CheckpointError(f"{file} is a TorchScript program, not weights; {_convert(file, _SCRIPT)}")
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        if packed or len(names) < len(entries) or sum(entry.file_size for entry in entries) > file.stat().st_size:
            raise CheckpointError(
                f"{file} is a compressed archive or one that overlaps itself, as torch never writes it; fetch it again"
            )
        tables = [entry for entry in entries if re.fullmatch(r"[^/]+/data\.pkl", entry.filename)]
        if len(tables) != 1:
            raise CheckpointError(f"{file} is a zip archive without weights in it; unpack it and name the file inside")
        with archive.open(tables[0]) as table:
            _scan(file, table, 1)
    # torch goes by the suffix .safetensors, and memory-maps only files that it opens by name.
    mapped = file.suffix != ".safetensors"
    stream.seek(0)
    return _read_torch(file if mapped else stream, mapped)


def _read_legacy(file: Path, stream: BinaryIO) -> Any:
    _scan(file, stream, 5)
    stream.seek(0)
    return _read_torch(stream, mapped=False)


def _read_torch(source: Path | BinaryIO, mapped: bool) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about how the file was written: of no use to its reader
        return torch.load(source, map_location="cpu", weights_only=True, mmap=mapped)  # noqa: TID251  # the one place


def _scan(file: Path, stream: Any, pickles: int) -> None:
    """Refuse pickles that call anything but the constructors of plain tensors."""
    calls = {
        (operation.name == "PROTO", str(argument).replace(" ", ".").replace("__builtin__", "builtins"))
        for _ in range(pickles)
        for operation, argument, _ in pickletools.genops(stream)
        if operation.name in _CALLS
    }
    strange = sorted(call for is_protocol, call in calls if not is_protocol and not _PLAIN.fullmatch(call))
    if strange:
        raise CheckpointError(f"{file} calls {few(strange)}, which plain weights never need; {_convert(file, _TORCH)}")
    protocols = {number for is_protocol, number in calls if is_protocol}
    if protocols != {"2"}:
        raise CheckpointError(
            f"{file} is pickled with protocol {max(protocols, default='0')}, torch reads only 2 without running code; "
            f"save it again without pickle_protocol. Or, {_convert(file, _TORCH)}"
        )


def _convert(file: Path, opened: str) -> str:
    """The next step: a command that runs the file and keeps its weights only."""
    code = (
        f"import sys, torch; m = {opened}; m = m.get('state_dict', m.get('model', m)) if isinstance(m, dict) else m; "
        "torch.save(m if isinstance(m, dict) else m.state_dict(), 'weights.pth')"
    )
    command = f'python -c "{code}" {shlex.quote(str(file))}'
    return f"if you trust it, take the weights out in a sandbox without network: {command}"


_LONGEST_HEADER = 2**30

_TORCH = "torch.load(sys.argv[1], weights_only=False)"
_SCRIPT = "torch.jit.load(sys.argv[1])"
_PICKLE = "__import__('pickle').load(open(sys.argv[1], 'rb'))"

# The number at the start of every file of torch.save before version 1.6, pickled.
_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

_REFUSED = {
    rb"version https://git-lfs": "a git-lfs pointer, not the weights it stands for; run git lfs pull",
    rb"\s*<": "a web page, such as a login or error page saved in place of the weights; fetch it again",
    rb"\x89HDF": "an HDF5 file; save the weights from PyTorch",
}

# The opcodes of a pickle that call something by name, and the one that states its protocol.
_CALLS = frozenset({"GLOBAL", "INST", "PROTO"})

# What torch allows beyond this can allocate any amount of memory (bytearray, copies to another type), and is in no
# state dict.
_PLAIN = re.compile(
    r"collections\.(OrderedDict|Counter)|builtins\.set|torch\.(storage\.)?\w+Storage|torch\.(Size|device)"
    r"|torch\.(u?int|b?float|complex|bool)\w*|torch\._utils\._rebuild_(tensor(_v2|_v3)?|parameter)"
    r"|torch\.nn\.parameter\.Parameter"
)

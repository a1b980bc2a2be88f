"""Load weights from a checkpoint file without running code from it.

Two formats are read: `.safetensors`, which cannot hold code, and what ``torch.save`` writes, only
through ``torch.load(weights_only=True)``.  A checkpoint that holds a whole module, a numpy array
or anything else beside tensors is refused with the names of what it asked for.  Also refused:
archives with compressed members (``torch.save`` stores them plain, a bomb does not), TorchScript
archives, and tensors that are not dense values on the processor or that claim more elements than
the file stores.

No code of a file runs, but time is not bounded here: torch's own restricted unpickler can be kept
busy by a file made for that, so take weights in .safetensors where there is a choice.
"""

from __future__ import annotations

import os
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from aqabench.data._refusal import DAMAGED, RefusalError, shown
from aqabench.data._regular_file import MAX_FILE_BYTES, open_regular
from aqabench.data.torch_archive import SAVE_STATE, check_members
from aqabench.errors import CheckpointError, UnsafeFileError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["load_checkpoint", "load_plain"]

_GLOBAL_IN_MESSAGE = re.compile(r"\bGLOBAL ([\w.]+) w")


def load_checkpoint(
    path: str | os.PathLike[str], *, key: str | None = None, max_bytes: int = MAX_FILE_BYTES
) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name, on the processor, detached.

    Args:
        path: a `.safetensors` file, or one that ``torch.save`` wrote.
        key: entry that holds the weights, for a training checkpoint that also keeps an epoch,
            an optimiser and the like; None if the file is the state_dict itself.
        max_bytes: size in bytes above which a file is not opened.

    Raises:
        UnsafeFileError: the file asks for more than tensors; the sentence names what.
        CheckpointError: there is no such file, or no state_dict where it was looked for.
    """
    name = shown(os.fsdecode(path), 4096)
    try:
        with open_regular(path, max_bytes) as raw:
            size = os.fstat(raw.fileno()).st_size
            if Path(path).suffix == ".safetensors":
                loaded = _load_safetensors(path)
            else:
                loaded = load_plain(raw, size)
    except RefusalError as refusal:
        raise UnsafeFileError(
            f"{name}: refused, nothing in it was run: {refusal.reason}; {refusal.advice}."
        ) from None
    except OSError as error:
        raise CheckpointError(
            f"{name}: cannot be read ({error.strerror or error}); look with `ls -l {name}`."
        ) from None
    return _state_dict(loaded, key, name)


def _load_safetensors(path: str | os.PathLike[str]) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise RefusalError(
            f"it is no valid safetensors file ({shown(str(error))})", DAMAGED
        ) from None


def load_plain(raw: BinaryIO | Any, size: int) -> object:
    """Return what ``torch.save`` wrote, made of tensors and plain Python values alone.

    Args:
        raw: an open file that can be sought in.
        size: its bytes.

    Raises:
        RefusalError: it is no such file, or asks for more; nothing of it was run.
    """
    import torch

    _check_archive(raw, size)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a refusal says it all in one sentence
            return torch.load(raw, map_location="cpu", weights_only=True)
    except MemoryError:
        raise RefusalError("its tensors need more memory than there is", DAMAGED) from None
    except Exception as error:  # torch raises a dozen types on files it does not understand
        asked = _globals_asked_for(raw, str(error))
        if asked:
            raise RefusalError(f"it asks for {', '.join(asked)}", SAVE_STATE) from None
        said = str(error).rpartition("WeightsUnpickler error: ")[2].strip().partition("\n")[0]
        reason = shown(said) or type(error).__name__
        raise RefusalError(
            f"torch cannot read it as plain weights ({reason})", SAVE_STATE
        ) from None


def _check_archive(raw: BinaryIO, size: int) -> None:
    """Refuse an archive whose form is not that of ``torch.save``; the old format is none."""
    raw.seek(0)
    if raw.read(2) == b"PK":
        try:
            archive = zipfile.ZipFile(raw)
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            raise RefusalError(f"its archive is damaged ({shown(str(error))})", DAMAGED) from None
        check_members(archive, size)
    raw.seek(0)


def _globals_asked_for(raw: BinaryIO, message: str) -> list[str]:
    """Name the globals in a refused file; the file is disassembled, not run."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    raw.seek(0)
    try:
        names = get_unsafe_globals_in_checkpoint(raw)
    except Exception:  # the old format has no such listing, and damaged files fail in many ways
        names = _GLOBAL_IN_MESSAGE.findall(message)
    return sorted(shown(name) for name in set(names))[:10]


def _state_dict(loaded: object, key: str | None, name: str) -> dict[str, Tensor]:
    if key is not None:
        if not isinstance(loaded, Mapping) or key not in loaded:
            raise CheckpointError(f"{name}: has no entry '{key}'; {_entries(loaded)}.")
        loaded = loaded[key]
    if not _is_state(loaded):
        where = f"its entry '{key}' is" if key is not None else "it is"
        raise CheckpointError(f"{name}: {where} no state_dict of tensors; {_entries(loaded)}.")
    assert isinstance(loaded, Mapping)
    return {entry: _checked(tensor, entry, name) for entry, tensor in loaded.items()}


def _is_state(value: object) -> bool:
    import torch

    return isinstance(value, Mapping) and all(
        isinstance(entry, str) and isinstance(tensor, torch.Tensor)
        for entry, tensor in value.items()
    )


def _entries(loaded: object) -> str:
    """Say where in a training checkpoint the weights may lie."""
    if not isinstance(loaded, Mapping):
        return f"it holds a {type(loaded).__name__}; {SAVE_STATE}"
    states = [entry for entry, value in loaded.items() if isinstance(entry, str) and value]
    states = [shown(entry) for entry in states if _is_state(loaded[entry])]
    if states:
        return f"pass key={states[0]!r} (entries with tensors: {', '.join(states[:10])})"
    return SAVE_STATE


def _checked(tensor: Tensor, entry: str, name: str) -> Tensor:
    import torch

    plain = (
        type(tensor) in (torch.Tensor, torch.nn.Parameter)
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
        and not tensor.is_quantized
    )
    if not plain:
        raise UnsafeFileError(
            f"{name}: refused: the entry {shown(entry)!r} is no dense tensor of plain values; "
            f"{SAVE_STATE}."
        )
    stored = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > stored:
        raise UnsafeFileError(
            f"{name}: refused: the entry {shown(entry)!r} claims the shape {tuple(tensor.shape)}, "
            f"which its {stored} stored bytes do not have; {DAMAGED}."
        )
    return tensor.detach()

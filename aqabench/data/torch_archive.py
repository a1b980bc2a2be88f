"""The form of what ``torch.save`` writes: a zip of plain members, no larger unpacked than packed.

Nothing is unpickled here, and no torch is needed.
"""

from __future__ import annotations

import struct
import zipfile
import zlib

from aqabench.data._refusal import DAMAGED, RefusalError, shown

__all__ = ["BROKEN_ZIP", "SAVE_STATE", "RefusalError", "check_members"]

BROKEN_ZIP = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError,
    OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip
"""What the zip library raises on a file that is damaged or forged."""
SAVE_STATE = (
    "open it where it was made and save the weights alone: "
    "torch.save(model.state_dict(), FILE), or safetensors.torch.save_file"
)


def check_members(file: zipfile.ZipFile, size: int) -> None:
    """Refuse an archive that holds code, or is larger unpacked than packed.

    Args:
        file: the archive.
        size: its bytes.

    Raises:
        RefusalError: says why.
    """
    members = file.infolist()
    if any(m.filename.endswith("/constants.pkl") for m in members):
        raise RefusalError("it is a TorchScript archive, which holds code", SAVE_STATE)
    packed = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED]
    if packed:
        raise RefusalError(
            f"its member {shown(packed[0])!r} is compressed, which torch.save never does",
            SAVE_STATE,
        )
    if sum(member.file_size for member in members) > size:
        raise RefusalError("its members together are larger than the file", DAMAGED)

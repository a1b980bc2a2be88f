"""The one way a feature file is refused: a reason, and what the user can do about it."""

from __future__ import annotations

__all__ = ["ASK_AGAIN", "DAMAGED", "NUMERIC_ONLY", "RESAVE", "RefusalError", "shown"]

ASK_AGAIN = (
    "do not open it with allow_pickle=True, ask its maker for plain numeric arrays or safetensors"
)
DAMAGED = "fetch it again and compare its size and checksum (sha256sum FILE) with the source's"
RESAVE = "if the file is yours, save it as numpy.save(FILE, {name: numpy.asarray(value), ...})"

NUMERIC_ONLY = "only bool, integers and floats of 16, 32 or 64 bits are read"


class RefusalError(Exception):
    """Why a file is refused; the door turns it into an ``UnsafeFileError`` that names the file."""

    def __init__(self, reason: str, advice: str = ASK_AGAIN) -> None:
        """Keep the reason and what the user can do about it."""
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


def shown(text: str, limit: int = 120) -> str:
    """Return a text from the file in printable ASCII, cut to a length a message can bear."""
    plain = text.encode("ascii", "backslashreplace").decode("ascii")
    safe = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in plain[:limit])
    return safe + ("..." if len(plain) > limit else "")

"""Seeds with names: every random stream is derived from a base seed and named axes.

Two streams never share numbers by accident, and adding a stream never shifts another one.
"""

from __future__ import annotations

import hashlib


def seed(base: int, **axes: object) -> int:
    """Return a 63-bit seed for the named axes.

    Args:
        base: the run's seed.
        **axes: what the stream is for, e.g. ``use="batches", class_name="TES"``.
    """
    text = f"{base}|" + "|".join(f"{k}={axes[k]}" for k in sorted(axes))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

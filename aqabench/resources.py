"""Where the shipped folders are: inside the wheel, or at the top of a checkout.

``methods/``, ``baselines/``, ``protocols/`` and ``leaderboards/`` stand at the top of the
repository for people to find.  A wheel carries them inside the package.  This is the only file
that knows the difference; nothing here looks at the working directory.
"""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
_CHECKOUT = PACKAGE.parent


def folder(name: str) -> Path:
    """Return the shipped folder ``name`` (``methods``, ``baselines``, ``protocols``, …)."""
    if (_CHECKOUT / "pyproject.toml").is_file() and (_CHECKOUT / name).is_dir():
        return _CHECKOUT / name
    return PACKAGE / name


def extend_path(package_path: list[str], name: str) -> None:
    """Let ``aqabench.<name>`` find the modules that a checkout keeps at its top level."""
    here = str(folder(name))
    if here not in package_path:
        package_path.append(here)

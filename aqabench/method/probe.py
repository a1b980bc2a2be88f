"""Does a method's file survive its own import?  Asked in another process, remembered by content.

Reading a card from the source cannot see an error at import time.  Importing every file would
need torch and seconds, so it is done once per version of a file, in a process of its own, and
the answer is kept in the user's cache folder.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import platformdirs

import aqabench
from aqabench.method.registry import Entry, Registry, import_entry

SECONDS = 120


def probe(registry: Registry) -> Registry:
    """Return the registry with the entries marked broken whose file cannot be imported."""
    open_questions = {e.path: e for e in registry.entries if not e.error}
    remembered = _remembered()
    unknown = [p for p in open_questions if _digest(p) not in remembered]
    if unknown:
        found = _ask([open_questions[p] for p in unknown])
        remembered |= {_digest(p): found[str(p)] for p in unknown}
        _remember(remembered)
    return Registry(
        [
            e if e.error else replace(e, error=remembered.get(_digest(e.path), ""))
            for e in registry.entries
        ]
    )


def _ask(entries: Sequence[Entry]) -> dict[str, str]:
    """Import the files in another process; return path -> reason, empty where it went well."""
    question = json.dumps([[str(e.path), e.module] for e in entries])
    command = [sys.executable, "-m", "aqabench.method.probe"]
    try:
        done = subprocess.run(
            command, input=question, capture_output=True, text=True, timeout=SECONDS, check=True
        )
        answer: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        if len(entries) == 1:
            reason = f"{entries[0].path.name} ends the process that imports it."
            return {str(entries[0].path): reason}
        # one file takes the others down: ask for each alone
        answer = {}
        for entry in entries:
            answer |= _ask([entry])
    return answer


def _digest(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    basis = f"{path}|{sys.version}|{aqabench.__version__}|".encode()
    return hashlib.sha256(basis + content).hexdigest()


def _cache() -> Path:
    return platformdirs.user_cache_path("aqabench") / "probed.json"


def _remembered() -> dict[str, str]:
    try:
        known = json.loads(_cache().read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(known: Mapping[str, str]) -> None:
    """Keep the good answers; a broken file is asked again, since what it lacks may be installed."""
    try:
        _cache().parent.mkdir(parents=True, exist_ok=True)
        _cache().write_text(json.dumps({k: v for k, v in known.items() if not v}))
    except OSError:
        return  # a cache that cannot be written costs time, nothing else


def _answer() -> None:
    """Be the other process: read the question, import, write the answer."""
    found = {}
    for path, module in json.load(sys.stdin):
        try:
            import_entry(Entry("", Path(path), module))
        except BaseException as error:  # even SystemExit: the file is what is on trial
            found[path] = f"{Path(path).name} fails to import: {type(error).__name__}: {error}."
        else:
            found[path] = ""
    sys.stdout.write("\n" + json.dumps(found) + "\n")


if __name__ == "__main__":
    _answer()

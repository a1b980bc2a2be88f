"""``aqabench runs show``: everything about one stored run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from aqabench.cli.lines import Lines, print_lines
from aqabench.cli.options import store_option
from aqabench.cli.runs.chosen import open_store, place_of
from aqabench.cli.runs.words import plain, seconds, size

if TYPE_CHECKING:
    from aqabench.runs.record import Cost, RunRecord
    from aqabench.runs.store import RunStore


@click.command("show")
@click.argument("key")
@store_option
def command(key: str, store_folder: Path | None) -> None:
    """Show the run whose key begins with KEY: settings, cost, environment, error, files.

    A few digits are enough, as long as no other key begins with them.
    """
    from rich.console import Console

    store = open_store(store_folder)
    place = place_of(store, key)
    record = store.find(*place.split("/"))
    if record is None:
        lines = _torn(store, place)
    else:
        lines = [*_lines(record), ("weights", _weights(store, record))]
    console = Console()
    print_lines(console, [(name, _plain(said)) for name, said in lines])

    def say(text: str, style: str = "") -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True, style=style)

    if record is not None and record.traceback:
        say("\nTraceback", "bold")
        say(plain(record.traceback))
    say("\nFiles", "bold")
    for line in _files(store.root / place):
        say(plain(line))


def _plain(said: Any) -> Any:
    return [plain(line) for line in said] if isinstance(said, list) else plain(said)


def _lines(record: RunRecord) -> Lines:
    identity = record.identity
    budget = {k: v for k, v in identity["budget"].items() if k != "name"}
    known = {
        "protocol", "protocol_digest", "data_kind", "data_digest", "budget", "method",
        "source_digest", "settings", "class_name", "seed", "fold", "tuned",
    }  # fmt: skip
    return [
        (record.key, f"{record.title}: {record.class_name}, seed {record.seed}{_fold(record)}"),
        ("status", record.status),
        ("error", record.error),
        ("started", f"{record.started} (UTC)"),
        ("", " "),
        ("protocol", f"{identity['protocol']}, version {record.protocol_version}"),
        ("  digest", str(identity["protocol_digest"])),
        ("data", f"{record.dataset}, {record.data_kind}"),
        ("  digest", str(identity["data_digest"])),
        ("  samples", ", ".join(f"{count} {part}" for part, count in record.samples.items())),
        ("budget", f"{identity['budget']['name']} ({_pairs(budget)})"),
        ("method", record.method),
        ("  source", str(identity["source_digest"])),
        ("  given by hand", _pairs(record.overrides)),
        ("  tuned", _tuned(record)),
        ("settings", [f"{k} = {v}" for k, v in identity.get("settings", {}).items()]),
        ("more identity", [f"{k} = {v}" for k, v in identity.items() if k not in known]),
        ("scenarios", _some(record.scenarios)),
        ("masks", [f"{part} {digest}" for part, digest in record.masks.items()]),
        ("", " "),
        (
            "epoch chosen",
            ", ".join(f"{rule}: {epoch}" for rule, epoch in record.selected_epochs.items()),
        ),
        ("cost", _cost(record.cost)),
        ("environment", [f"{name} {value}" for name, value in record.environment.items()]),
    ]


def _weights(store: RunStore, record: RunRecord) -> str:
    """Say whether weights are kept, of which rules, and what they take."""
    from aqabench.runs.weights import WEIGHTS

    path = store.weights_file(record)
    if path is not None:
        return f"kept, {size(path.stat().st_size)}: {WEIGHTS}"
    folder = store.directory(str(record.identity["protocol"]), record.method, record.key)
    return f"{WEIGHTS} is torn and counts as none" if (folder / WEIGHTS).exists() else "not kept"


def _tuned(record: RunRecord) -> str:
    return _pairs(record.tuned.model_dump(exclude={"settings"})) if record.tuned else ""


def _fold(record: RunRecord) -> str:
    return "" if record.fold is None else f", fold {record.fold}"


def _cost(cost: Cost | None) -> list[str]:
    if cost is None:
        return []
    said = cost.model_dump(mode="json")
    lines = []
    for name, value in said.items():
        words = name.replace("_", " ")
        if name.endswith("_seconds") and isinstance(value, int | float):
            lines.append(f"{words.removesuffix(' seconds')} {seconds(value)}")
        elif name.endswith("_bytes") and isinstance(value, int | float):
            lines.append(f"{words.removesuffix(' bytes')} {size(value)}")
        elif isinstance(value, dict):
            lines += [f"{words} {_pairs(value)}"] if value else []
        elif value is not None:
            lines.append(f"{words} {value:,}" if isinstance(value, int) else f"{words} {value}")
    return lines


def _torn(store: RunStore, place: str) -> Lines:
    from aqabench.runs.claim import claimed

    protocol, method, key = place.split("/")
    working = claimed(store.root / place)
    return [
        (key, f"{method} under {protocol}: no record"),
        (
            "status",
            "a process is at work on it"
            if working
            else "cut off; the same 'aqabench run' as then does it again or goes on",
        ),
    ]


def _files(folder: Path) -> list[str]:
    shown = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    return [str(folder), *(f"  {path.name}  {size(path.lstat().st_size)}" for path in shown)]


def _pairs(settings: Any) -> str:
    return ", ".join(f"{k} {v:,}" if type(v) is int else f"{k} {v}" for k, v in settings.items())


def _some(names: tuple[str, ...], most: int = 14) -> str:
    more = f" … ({len(names)} in all)" if len(names) > most else ""
    return " ".join(names[:most]) + more

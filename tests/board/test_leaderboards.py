"""The boards in ``leaderboards/`` are what their records give, to the byte.

To write them anew: ``aqabench board --records leaderboards/NAME -o leaderboards/NAME``.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aqabench.board.folder import RECORDS, RecordsFolder
from aqabench.board.release import SUFFIXES, WHOLE_SET, outdated_files
from aqabench.protocol.library import load_protocol
from aqabench.runs.store import RunStore
from tests.board.made import put, ship

LEADERBOARDS = Path(__file__).resolve().parents[2] / "leaderboards"
QUICK = ("markdown", "csv", "json", "latex")


def recomputable() -> list[Path]:
    """Return the folders whose records have predictions, so that a board can be made of them."""
    folders = sorted(path.parent for path in LEADERBOARDS.glob(f"*/{RECORDS}"))
    return [folder for folder in folders if not RecordsFolder.read(folder).lacking]


def again(folder: Path) -> str:
    where = f"leaderboards/{folder.name}"
    return f"differs; write it anew: aqabench board --records {where} -o {where}"


@pytest.mark.parametrize(
    "forms",
    [
        pytest.param(QUICK, id="text"),
        pytest.param(WHOLE_SET, id="pages", marks=pytest.mark.slow),  # another matplotlib draws
    ],
)
def test_committed_files_are_what_their_records_give(forms: tuple[str, ...]) -> None:
    for folder in recomputable():
        found = dict(outdated_files(folder, forms))
        assert set(found) == {f"board{SUFFIXES[form]}" for form in forms}, folder
        for name, differs in found.items():
            assert not differs, f"{name} {again(folder)}"


def test_the_table_of_spoken_sentences_is_what_its_own_lines_print() -> None:
    text = (LEADERBOARDS / "speechocean-missing" / "README.md").read_text(encoding="utf-8")
    code = text.partition("```python\n")[2].partition("```")[0]
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=LEADERBOARDS.parent, capture_output=True, check=True
    )
    rows = found.stdout.decode().strip()
    assert len(rows.splitlines()) > 10
    assert f"| ---: |\n{rows}\n\n" in text


def test_a_board_that_no_longer_fits_its_records_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aqabench.cli import main

    store, folder = RunStore(tmp_path / "runs"), tmp_path / "shown"
    for method, noise in (("ridge", 8.0), ("gdlt", 20.0)):
        put(store, load_protocol("fisv-rgb"), method, noise, seeds=(0,), curves=False)
    ship(store, folder)
    with pytest.raises(SystemExit, match="0"):
        main(["board", "--records", str(folder), "--output", str(folder)])
    assert {p.name for p in folder.glob("board.*")} == {f"board{SUFFIXES[f]}" for f in WHOLE_SET}
    monkeypatch.chdir(tmp_path)  # where it is rendered makes no difference
    found = dict(outdated_files(Path("shown"), QUICK))
    assert found == {f"board{SUFFIXES[f]}": False for f in QUICK}
    (folder / "board.tex").unlink()
    records = folder / RECORDS
    for class_name in ("TES", "PCS"):
        one, other = (f"{m}-{class_name}-0.predictions.csv.gz" for m in ("ridge", "gdlt"))
        shutil.copy(records / other, records / one)
    assert dict(outdated_files(folder, QUICK)) == {
        "board.md": True, "board.csv": True, "board.json": True,
    }  # fmt: skip

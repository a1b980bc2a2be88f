"""Methods are found by their files; a broken one is visible and harmless."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from aqabench.errors import MethodError, UnknownNameError, UsageError
from aqabench.method.probe import probe
from aqabench.method.registry import Registry, discover, scan_file, source_digest

GOOD = '''
"""A method for tests."""
import torch
from aqabench.method.card import MethodCard
from aqabench.baselines.constant import Constant

_SETTINGS = {"a": 1, "b": 0.5}

class Mine(Constant):
    card = MethodCard(
        name="mine", title="Mine", kind="baseline", summary="s", missing="m",
        settings={**_SETTINGS, "c": "x"}, opt_outs={"learns": "no"},
    )
'''


def _file(tmp_path: Path, text: str, name: str = "plug.py") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_the_shipped_methods_are_there_and_none_is_broken() -> None:
    registry = discover()
    assert {"mcmoe", "gdlt", "ridge", "constant", "unimodal"} <= set(registry.names())
    assert not [e for e in registry.entries if e.error]


def test_a_plugin_is_listed_loaded_and_its_card_read_without_running_it(tmp_path: Path) -> None:
    registry = discover([_file(tmp_path, GOOD)])
    card = registry.get("mine").card
    assert card is not None
    assert card.settings == {"a": 1, "b": 0.5, "c": "x"}
    assert registry.load("mine").__name__ == "Mine"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def broken(:\n", "line 1"),
        ("import no_such_package_anywhere\n" + GOOD, "'no_such_package_anywhere', which is not"),
        ("x = 1\n", "has no class with a line 'card = MethodCard"),
        (GOOD.replace('"s"', "str(1)"), "must be written with plain literals; 'str(1)'"),
        (GOOD.replace("summary=", "sumary="), "has no field 'sumary'"),
        (GOOD.replace('kind="baseline",', ""), "kind"),
    ],
)
def test_a_broken_file_is_listed_with_its_reason_and_hides_nobody(
    tmp_path: Path, text: str, reason: str
) -> None:
    registry = discover([_file(tmp_path, text)])
    (broken,) = [e for e in registry.entries if e.error]
    assert reason in broken.error
    assert "ridge" in registry.names()
    with pytest.raises(MethodError, match="cannot be used"):
        registry.get(broken.name)


def test_a_file_that_fails_at_import_is_found_by_the_probe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = [
        _file(tmp_path, GOOD + "\nraise RuntimeError('no luck')\n", "bad.py"),
        _file(tmp_path, GOOD.replace('"mine"', '"exits"') + "\nimport os; os._exit(3)\n", "ex.py"),
        _file(tmp_path, GOOD.replace('"mine"', '"fine"'), "fine.py"),
    ]
    entries = [e for i, p in enumerate(files) for e in scan_file(p, f"aqabench_plugin_{i}_t")]
    found = {e.name: e.error for e in probe(Registry(entries)).entries}
    assert "RuntimeError: no luck" in found["mine"]
    assert "ends the process" in found["exits"]
    assert found["fine"] == ""
    with pytest.raises(MethodError, match="RuntimeError: no luck"):
        discover([files[0]]).load("mine")


def test_a_name_taken_twice_is_an_error_naming_both_files(tmp_path: Path) -> None:
    path = _file(tmp_path, GOOD.replace('"mine"', '"ridge"'))
    with pytest.raises(UsageError, match="'ridge' is defined twice") as caught:
        discover([path])
    assert "ridge.py" in str(caught.value)
    assert "plug.py" in str(caught.value)
    twice = GOOD + GOOD.split("\n\n")[-1].replace("Mine", "Other")
    with pytest.raises(MethodError, match="defined twice"):
        discover([_file(tmp_path, twice, "twice.py")]).get("mine")


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'ridge'"):
        discover().get("rigde")


def test_a_plugin_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a file"):
        discover([tmp_path / "absent.py"])


def test_any_change_of_a_source_changes_its_digest(tmp_path: Path) -> None:
    path = _file(tmp_path, GOOD)
    first = source_digest(discover([path]).get("mine"))
    path.write_text(GOOD + "# a remark\n")
    assert source_digest(discover([path]).get("mine")) != first


def test_settings_are_checked_against_the_card() -> None:
    card = discover().get("gdlt").card
    assert card is not None
    assert card.resolve("fisv", "PCS", {})["epochs"] == 400
    assert card.resolve("fisv", "TES", {"dropout": 0})["dropout"] == 0.0
    with pytest.raises(UsageError, match=r"no setting 'dropot'\. Did you mean 'dropout'"):
        card.resolve("fisv", "TES", {"dropot": 0.1})
    with pytest.raises(UsageError, match=r"must be of type int\. Got 'many' instead"):
        card.resolve("fisv", "TES", {"epochs": "many"})


def test_finding_methods_does_not_import_torch() -> None:
    code = (
        "import sys; from aqabench.method.registry import discover; discover().names();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

"""``aqabench protocol``: new, check, diff, show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aqabench.cli import VERBS
from aqabench.cli.protocol import VERBS as PROTOCOL_VERBS
from aqabench.cli.protocol.diff import counts, differences
from aqabench.cli.protocol.new import KINDS, template
from aqabench.cli.protocol.show import _spread, drawings, picture
from aqabench.errors import UsageError
from aqabench.protocol import lock
from aqabench.protocol.json_schema import schema_text
from aqabench.protocol.library import (
    Asked,
    load_dataset,
    load_protocol,
    protocol_digest,
    protocol_names,
    shipped_dataset_names,
)
from aqabench.protocol.load import dump
from aqabench.protocol.scenarios import averaged_scenarios, columns, scenarios
from aqabench.protocol.schema import ClassSpec, DatasetSpec, ModalitySpec, Protocol
from aqabench.resources import folder
from tests.cli.conftest import Run


def shipped_text(name: str) -> str:
    return (folder("protocols") / f"{name}.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dataset", shipped_dataset_names())
def test_a_new_file_has_no_fault(aqabench: Run, tmp_path: Path, dataset: str, kind: str) -> None:
    spec = load_dataset(dataset)
    path = tmp_path / "made" / "mine.yaml"
    said = aqabench(
        "protocol", "new", "mine", "--dataset", dataset, "--kind", kind, "--to", path.parent
    )
    if kind == "quota" and len(spec.modalities) != 3:
        assert said.code == 2
        assert "quota is defined for 3 modalities only" in said.words
        assert "--kind rate" in said.words
        assert not path.exists()
        return
    assert said.code == 0
    assert f"aqabench protocol check {path}" in said.out
    assert f"aqabench run -m ridge -p {path}" in said.out
    asked = load_protocol(str(path))
    assert asked.protocol.name == "mine"
    assert asked.protocol.classes == tuple(c.name for c in spec.classes[:7])
    assert asked.protocol.modalities == tuple(m.name for m in spec.modalities)
    assert {s.kind for s in asked.protocol.scenarios} == {kind}
    assert averaged_scenarios(asked.protocol, spec), "the headline averages something"
    official = all(c.test for c in spec.classes)
    assert asked.protocol.split.scheme == ("official" if official else "published-folds")
    assert "yaml-language-server" not in path.read_text()


@pytest.mark.parametrize("streams", [1, 2, 3, 5, 7, 8])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", [(), ("1e3",)])
def test_a_data_set_of_ones_own(
    home: Path, tmp_path: Path, streams: int, kind: str, groups: tuple[str, ...]
) -> None:
    """Names that YAML takes for numbers, commas in classes, any number of streams, no test list."""
    spec = DatasetSpec(
        name="0x10",
        version=1,
        title="Null: #1",
        about="odd",
        modalities=tuple(
            ModalitySpec(name=f"{i}.0", symbol="abcdefgh"[i], width=2) for i in range(streams)
        ),
        classes=(ClassSpec(name="a, b: c #d", bounds=(0.0, 1.0), train=20, test=0),),
        same_videos=True,
        clip_length=4,
        groups=groups,
    )
    (home / "data" / "0x10").mkdir(parents=True)
    (home / "data" / "0x10" / "dataset.yaml").write_text(dump(spec))
    if kind == "quota" and streams != 3:
        with pytest.raises(UsageError):
            template("null", spec, kind, tmp_path)
        return
    path = tmp_path / "null.yaml"
    path.write_text(template("null", spec, kind, tmp_path))
    asked = load_protocol(str(path))
    assert asked.protocol.name == "null"
    assert asked.dataset == spec
    assert asked.protocol.split.scheme == ("grouped" if groups else "kfold")
    assert averaged_scenarios(asked.protocol, spec)


def test_new_overwrites_nothing_and_refuses_odd_names(aqabench: Run, tmp_path: Path) -> None:
    new = ("protocol", "new", "--dataset", "fisv", "--to", tmp_path)
    path = tmp_path / "mine.yaml"
    path.write_text("mine")
    said = aqabench(*new, "mine.yaml")
    assert said.code == 2
    assert "is there already and is not overwritten" in said.words
    assert path.read_text() == "mine"
    for name, words in {
        "Mine": "cannot be the name of a protocol",
        "../mine": "cannot be the name of a protocol",
        "fisv-missing": "choose another, such as my-fisv-missing",
    }.items():
        said = aqabench(*new, name)
        assert said.code == 2
        assert words in said.words
    assert [p.name for p in tmp_path.glob("*.yaml")] == ["mine.yaml"]
    (tmp_path / "file").write_text("")
    said = aqabench("protocol", "new", "x", "--dataset", "fisv", "--to", tmp_path / "file" / "sub")
    assert said.code == 1
    assert "a part of the path is a file" in said.words


def test_new_names_the_schema_that_lies_beside_it(tmp_path: Path) -> None:
    spec, schema = load_dataset("fisv"), tmp_path / "schema.json"
    schema.write_text("{}")
    assert "schema" not in template("mine", spec, "rate", tmp_path)
    schema.write_text(schema_text(Protocol), encoding="utf-8")
    first = template("mine", spec, "rate", tmp_path).splitlines()[0]
    assert first == shipped_text("fisv-missing").splitlines()[0]


def test_check_prints_every_fault_of_every_file(aqabench: Run, tmp_path: Path) -> None:
    good, bad, worse = (tmp_path / f"{name}.yaml" for name in ("good", "bad", "worse"))
    good.write_text(shipped_text("fisv-missing"))
    bad.write_text(shipped_text("fisv-missing").replace("audio, flow", "audio, flwo"))
    worse.write_text(
        shipped_text("rg-missing").replace("version: 1", "version: '1'").replace("kind:", "knd:")
    )
    said = aqabench("protocol", "check", good)
    assert said.code == 0
    assert "no fault, 7 scenarios on Fis-V" in said.words
    said = aqabench("protocol", "check", good, bad, worse, tmp_path / "absent.yaml")
    assert said.code == 1
    assert "no fault" in said.words
    assert "bad.yaml:10:28: modalities[2]: 'flwo'" in said.words
    assert "worse.yaml:3:10: version" in said.words
    assert "worse.yaml:12:6: scenarios[0].knd: unknown key" in said.words
    assert "There is no file" in said.words


def test_check_compares_shipped_protocols_with_the_lock(
    aqabench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = aqabench("protocol", "check", "fisv-missing", "rg-missing")
    assert (said.code, said.out.strip()) == (0, "fisv-missing, rg-missing: as locked")
    assert aqabench("protocol", "check", "rg-mising").code == 2
    monkeypatch.setattr(lock, "check_lock", lambda names=None: [f"{names} changed"])
    said = aqabench("protocol", "check")
    assert said.code == 1
    assert "None changed" in said.words
    assert "as locked" not in said.words
    assert "['fisv-rate'] changed" in aqabench("protocol", "check", "fisv-rate").words


def test_diff_names_fields_and_says_whether_runs_compare(aqabench: Run, tmp_path: Path) -> None:
    said = aqabench("protocol", "diff", "fisv-missing", "rg-missing")
    assert said.code == 0
    assert "dataset.clip_length 124 68 yes" in said.words
    assert "dataset.classes[Ball] –" in said.words
    assert "The digests differ" in said.words
    path = tmp_path / "mine.yaml"
    path.write_text(shipped_text("fisv-missing").replace("title: Fis-V", "title: FISV"))
    said = aqabench("protocol", "diff", "fisv-missing", path)
    cells = [line.split() for line in said.out.splitlines() if line.strip()]
    assert [row[0] for row in cells if row[-1] == "no"] == ["title"]
    assert not [row for row in cells if row[-1] == "yes"]
    assert "The digests are equal" in said.words
    assert "may be compared" in said.words
    assert "No field differs" in aqabench("protocol", "diff", "rg-rate", "rg-rate").words


def test_what_diff_says_counts_is_what_changes_the_digest() -> None:
    """Every field of both models, changed alone."""
    asked = load_protocol("percepiano-missing")
    for prefix, model in (("", asked.protocol), ("dataset.", asked.dataset)):
        for field in type(model).model_fields:
            changed = model.model_copy(update={field: 7})
            if prefix:
                digest = protocol_digest(asked.protocol, changed)  # type: ignore[arg-type]
            else:
                digest = protocol_digest(changed, asked.dataset)  # type: ignore[arg-type]
            assert counts(prefix + field) == (digest != asked.digest), prefix + field


def test_unequal_digests_always_have_a_field_that_counts() -> None:
    every = [load_protocol(name) for name in protocol_names()]
    for a in every:
        for b in every:
            assert (a.digest != b.digest) == any(counts(p) for p, _, _ in differences(a, b))


def test_an_order_alone_is_a_difference() -> None:
    asked = load_protocol("fisv-missing")
    turned = asked.dataset.model_copy(update={"classes": asked.dataset.classes[::-1]})
    other = Asked(asked.protocol, turned, protocol_digest(asked.protocol, turned))
    assert list(differences(asked, other)) == [("dataset.classes", "TES, PCS", "PCS, TES")]
    assert other.digest != asked.digest


def test_show_prints_shares_and_draws_within_80_columns(
    aqabench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = aqabench("protocol", "show", "fisv-rate")
    assert said.code == 0
    assert said.out.startswith(aqabench("show", "fisv-rate").out)
    # three streams of which one stays: (1 - rate) * 3 = 1 + 2 p, complete with p^2
    assert "rate=0.2 5 0.2000 0.2000 0.4900" in said.words
    assert "rate=0 1 0.0000 0.0000 1.0000" in said.words
    assert "from 100 samples, as declared for TES" in said.words
    assert said.out.count("v " + "█" * 24) == 1
    assert max(map(len, said.out.splitlines())) <= 80
    drawn = [line for line in said.out.splitlines() if line.startswith(("v ", "a ", "f "))]
    assert len(drawn) == 3 * 4  # eight levels, two side by side


def test_show_draws_steps_spread_over_a_sample(aqabench: Run) -> None:
    """Of 24 steps from the first to the last, as many are hidden at the end as are asked for."""
    said = aqabench("protocol", "show", "fisv-temporal")
    assert said.code == 0
    asked = load_protocol("fisv-temporal")
    table = np.ones((124, 3), dtype=bool)
    table[62:] = False
    names = scenarios(asked.protocol, asked.dataset)
    whole = dict.fromkeys(names, table)
    assert list(drawings(asked, whole, 124)) == _spread(
        list(columns(asked.protocol, asked.dataset)), 8
    )
    assert drawings(asked, whole, 124)["suffix=0.5"].splitlines()[0] == "v " + "█" * 12 + "·" * 12
    assert "prefix=0.5 1 0.5000 0.5" in said.words


def test_show_does_not_draw_subsets_and_takes_files(aqabench: Run, tmp_path: Path) -> None:
    said = aqabench("protocol", "show", "percepiano-missing")
    assert "█" not in said.out
    assert "dt 1 – 0.5000 0.0000" in said.words
    assert "1073 samples" in said.words
    path = tmp_path / "mine.yaml"
    path.write_text(
        template("mine", load_dataset("speechocean"), "imbalanced", tmp_path).replace(
            "draws: 5", "draws: 1"
        )
    )
    said = aqabench("protocol", "show", path)
    assert said.code == 0
    assert "imbalanced=0.3,0.43,0.57,0.7 1 0.5000" in said.words
    assert "g ·" in said.out or "g █" in said.out


def test_show_without_test_samples_says_what_to_write(aqabench: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = shipped_text("percepiano-missing")
    start, end = text.index("split:"), text.index("scenarios:")
    path.write_text(text[:start] + text[end:])
    said = aqabench("protocol", "show", path)
    assert said.code == 2
    assert "declares no test samples" in said.words


def test_a_picture_is_the_table_turned() -> None:
    table = np.array([[True, False], [True, True], [False, True]])
    assert picture(table, ["v", "fl"]) == "v  ██·\nfl ·██"


def test_of_many_levels_eight_are_drawn() -> None:
    levels = [str(i) for i in range(21)]
    spread = _spread(levels, 8)
    assert len(spread) == len(set(spread)) == 8
    assert (spread[0], spread[-1]) == ("0", "20")
    assert _spread(levels[:8], 8) == levels[:8]


def test_help_of_every_verb_does_without_torch() -> None:
    verbs = [[verb] for verb in VERBS] + [["protocol", verb] for verb in PROTOCOL_VERBS]
    code = (
        "import sys; from aqabench.cli import main\n"
        f"for verb in {verbs!r}:\n"
        "    try: main([*verb, '--help'])\n"
        "    except SystemExit as e: assert not e.code, (verb, e.code)\n"
        "    assert 'torch' not in sys.modules, verb"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: aqabench") == len(verbs)

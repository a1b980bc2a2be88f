"""``aqabench protocol``: new, check, diff, show."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from aqabench.cli import VERBS
from aqabench.cli.protocol import VERBS as PROTOCOL_VERBS
from aqabench.cli.protocol.diff import counts, differences
from aqabench.cli.protocol.drawing import damage_drawings, drawings, picture, spread
from aqabench.cli.protocol.new import template
from aqabench.cli.protocol.shares import brief, nominal_training
from aqabench.cli.protocol.starters import KINDS, NOISE, TABLES, TRAININGS
from aqabench.errors import UsageError
from aqabench.protocol import lock
from aqabench.protocol.grammar import ScenarioSpec, TrainingSpec
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
from aqabench.protocol.scenarios import averaged_scenarios, columns, corruptions, scenarios
from aqabench.protocol.schema import ClassSpec, DatasetSpec, ModalitySpec, Protocol
from aqabench.protocol.training import training_table
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
    clean = {"subsets"} if kind in NOISE else set()
    assert {s.kind for s in asked.protocol.scenarios} == clean | {kind}
    assert asked.protocol.criterion == ("complete" if kind in NOISE else "mean")
    assert asked.protocol.training == "complete"
    assert averaged_scenarios(asked.protocol, spec), "the headline averages something"
    official = all(c.test for c in spec.classes)
    assert asked.protocol.split.scheme == ("official" if official else "published-folds")
    assert "yaml-language-server" not in path.read_text()


@pytest.mark.parametrize("training", TRAININGS)
@pytest.mark.parametrize("dataset", shipped_dataset_names())
def test_a_new_file_says_what_training_goes_without(
    aqabench: Run, tmp_path: Path, dataset: str, training: str
) -> None:
    spec, path = load_dataset(dataset), tmp_path / "mine.yaml"
    new = ("protocol", "new", "mine", "--dataset", dataset, "--to", tmp_path)
    said = aqabench(*new, "--training", training)
    if len(spec.modalities) == 1 and training != "complete":
        assert said.code == 2
        assert "nothing can be missing in training: write --training complete" in said.words
        assert not path.exists()
        return
    assert said.code == 0
    given = load_protocol(str(path)).protocol.training
    assert (given if isinstance(given, str) else given.kind) == training
    lines = path.read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("training:"))
    assert lines[place - 1] == f"# {TRAININGS[training]}"


@pytest.mark.parametrize("streams", [1, 2, 3, 8])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("groups", "training"), [((), "complete"), (("1e3",), "single"), ((), "imbalanced")]
)
def test_a_data_set_of_ones_own(
    home: Path, tmp_path: Path, streams: int, kind: str, groups: tuple[str, ...], training: str
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
    missing = training in TABLES
    if (kind == "quota" and streams != 3) or (missing and (streams == 1 or kind == "swap")):
        with pytest.raises(UsageError):
            template("null", spec, kind, tmp_path, training)
        return
    path = tmp_path / "null.yaml"
    path.write_text(template("null", spec, kind, tmp_path, training))
    asked = load_protocol(str(path))
    assert asked.protocol.name == "null"
    assert asked.dataset == spec
    assert asked.protocol.split.scheme == ("grouped" if groups else "kfold")
    assert averaged_scenarios(asked.protocol, spec)


def test_new_knows_every_kind_of_the_grammar() -> None:
    every = [(ScenarioSpec, set(KINDS)), (TrainingSpec, set(TRAININGS) - {"complete"})]
    for spec, offered in every:
        assert set(TypeAdapter(spec).json_schema()["discriminator"]["mapping"]) == offered


def test_new_refuses_what_does_not_go_together(aqabench: Run, tmp_path: Path) -> None:
    new = ("protocol", "new", "mine", "--dataset", "fisv", "--to", tmp_path, "--kind", "swap")
    said = aqabench(*new, "--training", "rate")
    assert said.code == 2
    assert "swap needs validation samples that have every stream" in said.words
    assert "write --training complete" in said.words
    assert aqabench(*new, "--training", "u7").code == 0
    assert aqabench(*new, "--training", "u8").code == 2


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
    assert list(drawings(asked, whole, 124)) == spread(
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


def test_show_of_corruptions_is_a_line_for_each_level(
    aqabench: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for name, streams in {"fisv-noise": "v a f", "percepiano-noise": "d t p n"}.items():
        said = aqabench("protocol", "show", name)
        assert said.code == 0
        assert max(map(len, said.out.splitlines())) <= 80
        assert len(said.out.splitlines()) < 75
        assert f"gauss 0.25 {streams} all 3 noise of standard deviation 0.25 is added" in said.words
        assert f"shift 1 {streams} 3 early or late by 1 step " in said.words
        assert f"swap – {streams} 3 that of another sample" in said.words
        assert f"scale 2 {streams} all 1 distance from the mean times 2" in said.words
        assert "What is hidden from" not in said.words, "nothing is"
        listed = ", ".join(streams.split())
        assert f"freeze {listed} = 0.25, 0.5 swap {listed} scale" in said.words
        assert f"AvgNoise all but {streams.replace(' ', '')} " in said.words


def test_corruptions_are_drawn_as_their_tables_say(tmp_path: Path) -> None:
    asked = load_protocol("fisv-noise")
    ids, lengths = [f"{i:03d}" for i in range(30)], [48] * 30
    every = corruptions(asked.protocol, asked.dataset, ids, lengths)
    found = damage_drawings(asked, every, 48)
    assert list(found) == ["channels=0.5", "shift=8", "freeze=0.5", "swap"]
    tables = {(c.damage.kind, c.damage.level, c.draw): c.damage.tables for c in every}
    v, a, f = (line.split(maxsplit=1) for line in found["shift=8"][1].splitlines())
    assert [v[0], a[0], f[0]] == ["v", "a", "f"]
    assert v[1] == "".join("<>"[int(x > 0)] for x in tables["shift", 8, 0]["video"][:24])
    frozen = found["freeze=0.5"][1].splitlines()[1].removeprefix("a ")
    first, count = tables["freeze", 0.5, 0]["audio"][0]
    steps = [round(i * 47 / 23) for i in range(24)]
    assert frozen == "".join("=" if first <= t < first + count else "█" for t in steps)
    shown = found["swap"][1].splitlines()[2].split()
    assert shown == ["f", *map(str, tables["swap", 1, 0]["flow"][:8])]
    places = [round(i * 1023 / 23) for i in range(24)]
    kept = tables["channels", 0.5, 0]["flow"][0, places]
    assert found["channels=0.5"][1].splitlines()[2] == "f " + "".join("·█"[int(x)] for x in kept)


def test_brief_columns_say_every_stream_and_level() -> None:
    asked = load_protocol("fisv-noise")
    assert brief(asked)[:2] == ["vaf", "gauss v, a, f, all = 0.25, 0.5, 1, 2"]
    assert brief(asked)[5:] == ["swap v, a, f", "scale v, a, f, all = 0.5, 2"]
    assert brief(asked, {"gauss a=2", "vaf"}) == ["vaf", "gauss a = 2"]


def test_show_prints_what_training_goes_without(
    aqabench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = aqabench("protocol", "show", "percepiano-train-missing")
    assert max(map(len, said.out.splitlines())) <= 80
    said = aqabench("protocol", "show", "fisv-train-missing")
    assert max(map(len, said.out.splitlines())) <= 80
    assert "as declared for TES" in said.words
    asked = load_protocol("fisv-train-missing")
    for part, seed, count in (("train", 1, 340), ("val", 2, 60)):
        ids = [f"{i:05d}" for i in range(count)]
        table = training_table(asked.protocol, asked.dataset, ids, part, seed)
        assert table is not None
        hidden, complete = (~table).mean(), table.all(axis=1).mean()
        row = f"{part} {seed} {count} 0.5000 {hidden:.4f} {complete:.4f}"
        assert row in said.words
        if part == "train":
            drawing = picture(table[:24], ["v", "a", "f"]).splitlines()
            assert all(line in said.out for line in drawing)
    assert "v 1 – 0.6667 0.0000" in said.words, "the test scenarios are there, too"


@pytest.mark.parametrize(
    ("training", "nominal", "rows"),
    [
        ("{kind: imbalanced, rates: [0.3, 0.5, 0.7], tables: 2}", 0.5, ["train 0 2", "train 1 3"]),
        ("{kind: rate, rate: 0.4, tables: 20}", 0.4, ["train mean of 6 tables", "val mean of 6"]),
        ("{kind: single, modality: flow, share: 0.25, tables: 1}", 0.25, ["train 0 1 2 3 4 5"]),
        ("{kind: u7}", None, ["train 0 340 –"]),
        ("{kind: bern, p: 0.25}", 0.25, ["train 0 340 0.2500"]),
    ],
)
def test_show_knows_every_kind_of_training(
    aqabench: Run, tmp_path: Path, training: str, nominal: float | None, rows: list[str]
) -> None:
    text = shipped_text("fisv-missing").replace("scenarios:", f"training: {training}\nscenarios:")
    path = tmp_path / "mine.yaml"
    path.write_text(text + "seeds: [0, 1, 2, 3, 4, 5]\n")
    said = aqabench("protocol", "show", path)
    assert said.code == 0
    assert all(row in said.words for row in rows)
    assert nominal_training(load_protocol(str(path)).protocol) == nominal
    assert ("validation is complete" in said.words) == ("\nval " not in said.out)
    assert said.out.count("seed 0 ") + said.out.count("seeds 0 ") == 1


def test_a_picture_is_the_table_turned() -> None:
    table = np.array([[True, False], [True, True], [False, True]])
    assert picture(table, ["v", "fl"]) == "v  ██·\nfl ·██"


def test_of_many_levels_eight_are_drawn() -> None:
    levels = [str(i) for i in range(21)]
    chosen = spread(levels, 8)
    assert len(chosen) == len(set(chosen)) == 8
    assert (chosen[0], chosen[-1]) == ("0", "20")
    assert spread(levels[:8], 8) == levels[:8]


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

"""``aqabench data show`` and ``export`` as they are typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aqabench.cli.data import figures
from aqabench.cli.data.portrait import bars, digits
from aqabench.data import simulated
from aqabench.data.simulator import simulate
from aqabench.errors import StoreError, UsageError
from aqabench.figure import check_path, write_figure
from aqabench.protocol.schema import ClassSpec, DatasetSpec, ModalitySpec
from tests.cli.conftest import Run

HEADS = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF"}


@pytest.fixture
def small_simulations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a few narrow samples, whatever the data set says."""

    def fewer(spec: DatasetSpec, seed: int, modalities: list[str]) -> object:
        classes = [c.model_copy(update={"train": 40, "test": min(c.test, 5)}) for c in spec.classes]
        streams = tuple(m.model_copy(update={"width": 6}) for m in spec.modalities)
        cut = {"classes": tuple(classes), "modalities": streams}
        return simulate(spec.model_copy(update=cut), seed=seed, modalities=modalities)

    monkeypatch.setattr(simulated, "load_simulated", fewer)


def odd_spec(streams: int, classes: int, same: bool, test: int) -> DatasetSpec:
    return DatasetSpec(
        name="odd",
        version=1,
        title="Odd",
        about="for tests",
        modalities=tuple(
            ModalitySpec(name=f"stream{i}", symbol="abcdefgh"[i], width=4 + 20 * i)
            for i in range(streams)
        ),
        classes=tuple(
            ClassSpec(name=f"class_{i}", bounds=(0.0, 10.0 + 5 * (i % 2)), train=12, test=test)
            for i in range(classes)
        ),
        same_videos=same,
        clip_length=10,
    )


def test_help_imports_neither_torch_nor_matplotlib(installed: Run) -> None:
    code = (
        "import sys; from aqabench.cli import main\n"
        "for typed in ('show --help', 'export --help', 'show fisv'):\n"
        "    try: main(['data', *typed.split()])\n"
        "    except SystemExit as e: assert not e.code, e.code\n"
        "    assert not {'torch', 'matplotlib', 'scipy'} & set(sys.modules), typed"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_real_data_are_shown_in_eighty_columns(
    installed: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = installed("data", "show", "fisv", "--sample", "101")
    assert said.code == 0
    for part in (
        "Fis-V (fisv): REAL data (gdlt release)",
        "56 samples: 40 training, 16 test; 2 classes, scores of the same samples",
        "video 1024 float16",
        "Lengths in clips min 4, quartiles",
        "TES train 40",
        "PCS test 16",
        "TES, PCS",
        "no labels of who performs",
        "Sample 101",
        "To see it: aqabench data show fisv --figure fisv.png",
    ):
        assert part in said.words, part
    assert "SIMULATED" not in said.words
    assert max(map(len, said.out.splitlines())) <= 80


@pytest.mark.parametrize("name", ["fisv", "rg", "fs1000", "percepiano", "speechocean"])
def test_every_data_set_is_shown_simulated(
    aqabench: Run, small_simulations: None, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = aqabench("data", "show", name)
    assert said.code == 0
    assert "SIMULATED data (the real features are not installed)" in said.words
    assert "REAL" not in said.words
    assert max(map(len, said.out.splitlines())) <= 80
    assert ("Spearman between classes" in said.words) == (name != "rg")
    if name == "percepiano":
        assert "interpretation_doubtful_convincing" in said.words, "names are not cut"
        assert "0 test" in said.words


def test_simulated_as_asked_although_real_data_are_there(
    installed: Run, small_simulations: None
) -> None:
    assert (
        "SIMULATED data (as asked)"
        in installed("data", "show", "fisv", "--data", "simulated").words
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("fsiv",), 2, "Did you mean 'fisv'?"),
        (("rg", "--data", "real"), 1, "aqabench data import rg --from FOLDER"),
        (("fisv", "--figure", "plot.jpg"), 2, "Type: --figure 'plot.png'"),
        (("fisv", "--figure", "."), 2, "Type: --figure 'figure.png'"),
        (("fisv", "--figure", "no/where/plot.png"), 2, "mkdir -p 'no/where'"),
    ],
)
def test_wrong_usage_says_what_to_type(
    aqabench: Run, arguments: tuple[str, ...], code: int, message: str
) -> None:
    said = aqabench("data", "show", *arguments)
    assert said.code == code
    assert message in said.words
    assert "Traceback" not in said.words


def test_a_sample_that_is_not_there_has_its_neighbours_named(installed: Run) -> None:
    said = installed("data", "show", "fisv", "--sample", "1001")
    assert said.code == 2
    assert "Type: aqabench data show fisv --sample 101" in said.words
    assert "The nearest: 1, 116." in installed("data", "show", "fisv", "--sample", "%%").words


def test_a_figure_is_written(installed: Run, tmp_path: Path) -> None:
    path = tmp_path / "fisv.png"
    said = installed("data", "show", "fisv", "--sample", "3", "--figure", path)
    assert said.code == 0
    assert f"Drawn: {path}" in said.words
    assert path.read_bytes().startswith(HEADS[".png"])


@pytest.mark.parametrize("suffix", sorted(HEADS))
def test_the_same_data_give_the_same_bytes(tmp_path: Path, suffix: str) -> None:
    spec = odd_spec(1, 1, True, 4)
    data = simulate(spec)
    paths = [tmp_path / f"{i}{suffix}" for i in range(2)]
    for path in paths:
        write_figure(figures.draw(data, spec, 0, simulated=True), path)
    assert paths[0].read_bytes().startswith(HEADS[suffix])
    assert paths[0].read_bytes() == paths[1].read_bytes()


@pytest.mark.parametrize(
    ("streams", "classes", "same", "test"),
    [(1, 1, True, 0), (2, 3, True, 4), (3, 4, False, 4), (7, 6, False, 3), (8, 19, True, 0)],
)
def test_figures_of_any_shape_say_what_they_show(
    streams: int, classes: int, same: bool, test: int
) -> None:
    spec = odd_spec(streams, classes, same, test)
    data = simulate(spec)
    figure = figures.draw(data, spec, figures.typical_row(data), simulated=test > 0)
    figure.draw_without_rendering()
    kind = "SIMULATED data, not real" if test else "REAL data"
    assert figure.get_suptitle() == f"Odd – {kind}"
    shown = [a for a in figure.findobj(lambda a: hasattr(a, "get_images")) if a.get_images()]
    maps = [a for a in shown if a.get_ylabel().startswith("stream")]
    assert len(maps) == streams
    assert len(figure.axes) <= 10 + streams, "many classes share panels"


def test_channels_of_a_heat_map_are_those_that_vary_most() -> None:
    video = np.zeros((5, 100))
    video[:, [90, 7]] = np.arange(5.0)[:, None]
    assert figures.most_varied(video, 2).tolist() == [7, 90]
    assert figures.most_varied(video[:, :3], 5).tolist() == [0, 1, 2]


def test_a_figure_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(UsageError, match="is a folder"):
        check_path(tmp_path / "a.png")
    monkeypatch.setattr("aqabench.figure.os.access", lambda *_: False)
    with pytest.raises(StoreError, match=r"Choose another place: --figure FILE\.png"):
        check_path(tmp_path / "b.png")
    monkeypatch.undo()
    spec = odd_spec(1, 1, True, 0)
    data = simulate(spec)
    figure = figures.draw(data, spec, 0, simulated=True)
    with pytest.raises(StoreError, match="Cannot write the figure to"):
        write_figure(figure, tmp_path / "gone" / "b.png")


def test_bars_and_digits() -> None:
    assert bars(np.array([0, 1, 40, 80])) == " ▁▄█"
    assert bars(np.array([0, 0])) == "  "
    assert [digits(x) for x in (123.0, 6.4, 0.13, 0.0)] == [0, 2, 3, 6]


def test_export_says_what_it_is_and_comes_back(installed: Run, tmp_path: Path) -> None:
    said = installed("data", "export", "fisv", "--to", tmp_path / "out", "--name", "mine")
    assert said.code == 0
    assert "Exported Fis-V, REAL data, 56 samples of video" in said.words
    assert "licence: none stated by the authors" in said.words
    assert f"aqabench data import mine --from '{tmp_path / 'out'}'" in said.words
    assert installed("data", "import", "mine", "--from", tmp_path / "out").code == 0
    assert "Fis-V (mine): REAL data (tidy release)" in installed("data", "show", "mine").words
    again = installed("data", "export", "fisv", "--to", tmp_path / "out")
    assert again.code == 2
    assert "--overwrite" in again.words
    assert installed("data", "export", "fisv", "--to", tmp_path / "out", "--overwrite").code == 0


def test_an_exported_simulation_is_shown_as_one_after_its_import(
    aqabench: Run, small_simulations: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = aqabench("data", "export", "rg", "--to", tmp_path / "out", "--npz", "--name", "rg-2")
    assert said.code == 2
    assert "--name simulated-rg-2" in said.words
    said = aqabench("data", "export", "rg", "--to", tmp_path / "out", "--npz")
    assert "RG, SIMULATED data, 180 samples" in said.words
    path = tmp_path / "out" / "dataset.yaml"
    narrow = path.read_text().replace("width: 1024", "width: 6").replace("width: 768", "width: 6")
    path.write_text(narrow)
    assert aqabench("data", "import", "simulated-rg", "--from", tmp_path / "out").code == 0
    shown = aqabench("data", "show", "simulated-rg", "--data", "real")
    assert "SIMULATED data (exported from the simulator, then imported)" in shown.words
    assert "REAL" not in shown.words

"""``aqabench data``: status, import, verify; and data of one's own from a folder to a board."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.helpers import write_fisv_dicts, write_fs1000_release, write_gdlt_release


def test_status_says_what_to_get_and_where(aqabench: Run) -> None:
    said = aqabench("data", "status")
    assert said.code == 0
    assert "aqabench data status NAME" in said.words
    said = aqabench("data", "status", "fs1000")
    for part in (
        "output_feature_fs1000_new (video)",
        "train_fs1000_new.txt",
        "Audio-Visual-Figure-Skating (Baidu)",
        "none stated by the authors",
        "Next: aqabench data import fs1000 --from FOLDER",
    ):
        assert part in said.words
    assert aqabench("data", "status", "fs100").code == 2


def test_status_and_verify_see_a_changed_file(installed: Run, home: Path) -> None:
    assert "hashes match" in installed("data", "status", "fisv").words
    assert "every file as imported" in installed("data", "verify").words
    path = home / "data" / "fisv" / "video.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert "touched since:" in installed("data", "status").words
    assert "has changed since it was imported" in installed("data", "status", "fisv").words
    said = installed("data", "verify", "fisv")
    assert said.code == 1
    assert "Import it again: aqabench data import fisv --from FOLDER" in said.words


def test_simulated_data_do_not_need_the_import_to_be_sound(installed: Run, home: Path) -> None:
    (home / "data" / "fisv" / "manifest.json").write_text("{}")
    run = ("run", "-m", "constant", "-p", "fisv-rgb", "--class", "TES")
    said = installed(*run)
    assert (said.code, "Import the data again" in said.words) == (1, True)
    assert installed(*run, "--data", "simulated").code == 0


def test_verify_of_nothing_is_no_error(aqabench: Run) -> None:
    said = aqabench("data", "verify")
    assert (said.code, "No data set is installed" in said.words) == (0, True)
    assert aqabench("data", "verify", "rg").code == 1


def test_import_says_what_it_did(aqabench: Run, tmp_path: Path) -> None:
    folder = write_fisv_dicts(tmp_path / "release")
    said = aqabench("data", "import", "fisv", "--from", folder, "--float16")
    assert said.code == 0
    assert "9 samples" in said.words
    assert "video 1024 float16" in said.words
    assert "float16 moved a value by at most" in said.words
    assert "licence: none stated by the authors" in said.words


def test_import_without_a_folder_or_of_an_unknown_name_is_code_2(
    aqabench: Run, tmp_path: Path
) -> None:
    said = aqabench("data", "import", "fisv")
    assert said.code == 2
    assert "--from FOLDER" in said.words
    folder = write_gdlt_release(tmp_path / "release")
    said = aqabench("data", "import", "fisw", "--from", folder)
    assert said.code == 2
    assert "Did you mean 'fisv'" in said.words
    assert "--format tidy" in said.words


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
def test_a_file_that_really_cannot_be_written_is_one_sentence(
    home: Path, tmp_path: Path, aqabench: Run
) -> None:
    """The writing library hides the system's error in one of its own; this is the real one."""
    import resource

    folder = write_gdlt_release(tmp_path / "release", train=40, test=16)
    done = subprocess.run(
        [sys.executable, "-m", "aqabench", "data", "import", "fisv", "--from", str(folder)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Cannot write to" in done.stderr
    assert "the file is larger than the disk or your limits allow" in done.stderr
    assert aqabench("data", "import", "fisv", "--from", folder).code == 0


@pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="only a superuser can mount a small disk"
)
def test_a_disk_that_fills_or_closes_for_real_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, aqabench: Run
) -> None:
    folder = write_gdlt_release(tmp_path / "release", train=40, test=16)
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no small disk can be mounted here")
    try:
        monkeypatch.setenv("AQABENCH_HOME", str(disk))
        (disk / "filler").write_bytes(b"x" * int(2.2 * 2**20))
        usage = shutil.disk_usage(tmp_path)
        with monkeypatch.context() as patched:  # what was free beforehand is gone meanwhile
            patched.setattr("aqabench.data.importer.shutil.disk_usage", lambda _: usage)
            said = aqabench("data", "import", "fisv", "--from", folder)
        assert (said.code, "the disk is full" in said.words) == (1, True), said
        (disk / "filler").unlink()
        assert aqabench("data", "import", "fisv", "--from", folder).code == 0
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        said = aqabench("data", "import", "fisv", "--from", folder)
        assert (said.code, "the disk is read-only" in said.words) == (1, True), said
        assert "every file as imported" in aqabench("data", "verify").words
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_of_two_imports_at_once_one_is_told_to_wait(home: Path, tmp_path: Path) -> None:
    folder = write_fs1000_release(tmp_path / "release", train=150, test=30)
    command = [sys.executable, "-m", "aqabench", "data", "import", "fs1000", "--from", str(folder)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in both]
    codes = sorted(process.returncode for process in both)
    if codes == [0, 0]:
        pytest.skip("one import was done before the other began")
    assert codes == [0, 1]
    loser = next(err for (_, err), p in zip(said, both, strict=True) if p.returncode)
    assert "Another import of FS1000" in loser


def test_groups_make_identity_and_the_athlete_split_possible(
    installed: Run, tmp_path: Path
) -> None:
    run = ("run", "-m", "identity", "-p", "fisv-rgb", "--data", "real", "--budget", "quick")
    said = installed(*run)
    assert said.code == 2
    assert "aqabench data import fisv --groups FILE.csv" in said.words
    groups = tmp_path / "groups.csv"
    ids = [*range(1, 41), *range(101, 117)]
    groups.write_text("sample_id,group\n" + "".join(f"{i},a{i % 7}\n" for i in ids))
    said = installed("data", "import", "fisv", "--groups", groups)
    assert "Fis-V now has labels of athlete" in said.words
    said = installed(*run)
    assert said.code == 0
    assert "a leakage floor" in said.words
    protocol = tmp_path / "mine.yaml"
    protocol.write_text(
        "name: mine\nversion: 1\ntitle: My split\nquestion: Is it who performs?\ndataset: fisv\n"
        "classes: [TES]\nmodalities: [video]\n"
        "split: {scheme: grouped, k: 3, group: athlete, validation: {group: athlete}}\n"
        "scenarios: [{kind: subsets}]\naverage: {name: Avg1, over: all}\n"
    )
    again = ("-p", protocol, "--data", "real", "--budget", "quick")
    said = installed("run", "-m", "ridge", "-m", "identity", *again)
    assert said.code == 0
    assert "3 folds" in said.words
    assert "My split" in installed("compare", "-p", protocol).words
    protocol.unlink()
    assert "My split" in installed("compare").words, "the store keeps the protocol"


def test_without_labels_the_athlete_protocol_runs_on_simulated_data_or_refuses(
    installed: Run,
) -> None:
    run = ("run", "-m", "constant", "-p", "fisv-athlete-missing", "--class", "TES")
    said = installed(*run, "--data", "real")
    assert said.code == 1
    assert "audio, flow" in said.words


def test_the_guide_makes_a_benchmark_of_ones_own_data(
    aqabench: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    monkeypatch.chdir(tmp_path)
    Path("mine").mkdir()
    exec(guide.split("<!-- example -->\n```python\n")[1].split("```")[0], {})
    said = aqabench("data", "import", "mine", "--from", "mine", "--format", "tidy")
    assert said.code == 0, said.err
    assert "60 samples" in said.words
    assert "REAL data (tidy release)" in aqabench("data", "show", "mine").words
    protocol = Path("mine-missing.yaml")
    protocol.write_text(guide.split("<!-- protocol -->\n```yaml\n")[1].split("```")[0])
    assert len(protocol.read_text().splitlines()) <= 12, "a dozen lines"
    chosen = ("-p", protocol, "--budget", "quick", "--threads", 1)
    said = aqabench("run", "-m", "ridge", "-m", "modality-dropout", *chosen)
    assert said.code == 0, said.words
    assert "real left-hand, right-hand, voice, text features (tidy release)" in said.words
    assert "2 of 4" in said.words
    said = aqabench("run", "-m", "unimodal", "--set", "stream=voice", *chosen)
    assert said.code == 0, said.words
    assert "| unimodal[stream=voice] |" in aqabench("compare", "--format", "markdown").out


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_import_is_not_taken_for_a_whole_one_and_goes_on(
    home: Path, tmp_path: Path, aqabench: Run, stop: signal.Signals
) -> None:
    folder = write_fs1000_release(tmp_path / "release", train=150, test=30)
    command = [sys.executable, "-m", "aqabench", "data", "import", "fs1000", "--from", str(folder)]
    process = subprocess.Popen(
        command, env={**os.environ}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    staging = home / "data" / ".fs1000.partial"
    until = time.monotonic() + 60
    while not list(staging.glob("*.safetensors")) and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(stop)
    _, said = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the import was done before it could be stopped")
    if stop is signal.SIGINT:
        assert process.returncode == 130
        assert b"type the same command again to go on" in said
    assert "fs1000 FS1000 no" in aqabench("data", "status").words
    assert aqabench("data", "import", "fs1000", "--from", folder).code == 0
    assert "every file as imported" in aqabench("data", "verify", "fs1000").words
    assert not staging.exists()

"""What is shown while runs go on: bars, plain lines, JSON events."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from rich.console import Console

from aqabench.cli.display import Display, display_for
from aqabench.cli.display.bars import BLOCKS, LOOKS, RunBars, sparkline
from aqabench.cli.display.endings import duration
from aqabench.cli.display.plain import EVERY
from aqabench.method.registry import discover
from aqabench.runs.plan import RunSpec, make_plan
from aqabench.runs.record import RunRecord
from tests.runs.sweeps import narrow_question

KEYS = {
    "message": {"text"},
    "started": {"key", "run", "number", "total"},
    "waits": {"key", "run"},
    "progress": {"key", "run", "step", "steps", "epoch", "loss"},
    "looked": {"key", "run", "epoch", "srcc"},
    "ended": {"key", "run", "status", "error", "stored"},
}


@dataclass(frozen=True)
class Step:
    step: int
    steps: int
    epoch: int
    loss: dict[str, float] = field(default_factory=lambda: {"a": 0.25, "b": 0.5})


@pytest.fixture(scope="module")
def plan() -> list[RunSpec]:
    """Two runs with short names and two whose method does not fit into 80 columns."""
    registry = discover()
    long = {"lr": 0.00025, "batch_size": 16, "dropout": 0.125}
    short = make_plan(narrow_question(), registry, ["ridge"], {}, (0, 1), ["TES"])
    return [*short, *make_plan(narrow_question(), registry, ["mcmoe"], long, (0, 1), ["PCS"])]


def record(spec: RunSpec, error: str = "") -> RunRecord:
    return RunRecord(
        key=spec.key,
        status="failed" if error else "finished",
        error=error,
        identity=spec.identity,
        dataset="fisv",
        protocol_version=1,
        title="T",
        scenarios=("v",),
        started="2026-01-01T00:00:00+00:00",
    )


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """A clock of the displays that goes where it is told to."""
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    def go(seconds: float) -> None:
        now[0] += seconds

    return go


def drawn(bars: RunBars, width: int) -> list[str]:
    """Return the lines that are on the screen."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(bars._bars.get_renderable())
    return captured.get().splitlines()


def screen(text: str) -> list[str]:
    """Return what a terminal shows at the end of ``text``, with cursor moves carried out."""
    lines, row, column = [""], 0, 0
    for token in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|\r|\n|[^\x1b\r\n]+", text):
        if token == "\r":
            column = 0
        elif token == "\n":
            row, column = row + 1, 0
            lines += [""] * (row + 1 - len(lines))
        elif token.startswith("\x1b["):
            count = int(re.sub(r"\D", "", token) or 1)
            if token.endswith("A"):
                row = max(0, row - count)
            elif token.endswith("K"):
                lines[row] = "" if "2" in token else lines[row][:column]
        else:
            lines[row] = (
                lines[row][:column].ljust(column) + token + lines[row][column + len(token) :]
            )
            column += len(token)
    return [line.rstrip() for line in lines]


def test_a_sparkline_goes_from_its_lowest_to_its_highest_look() -> None:
    assert sparkline([0.0, 0.5, 1.0]) == "▁▅█"
    assert sparkline([0.3]) == "▁"
    assert sparkline([-0.2, -0.2]) == "▁▁"
    falling = sparkline([float(-k) for k in range(40)])
    assert len(falling) == LOOKS
    assert (falling[0], falling[-1]) == (BLOCKS[-1], BLOCKS[0])
    assert list(falling) == sorted(falling, reverse=True)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (119.4, "119 s"), (120, "2 min"), (5400, "90 min"), (86400, "24.0 h")],
)
def test_a_duration_reads_well(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize("width", [60, 80, 120])
def test_bars_show_class_seed_epoch_curve_and_time_left(plan: list[RunSpec], width: int) -> None:
    file = io.StringIO()
    console = Console(force_terminal=True, width=width, file=file)
    with RunBars(console, plan) as bars:
        bars.say("preparing the data")
        assert drawn(bars, width)[0].startswith("preparing the data")
        for number, spec in enumerate(plan[1:], 2):
            bars.run_started(spec, number, len(plan))
        assert all("starting" in line for line in drawn(bars, width)[1:])
        for step in range(1, 31):
            for spec in plan[1:]:
                bars.run_progress(spec, Step(step, 60, 1000 + step))
                bars.run_looked(spec, step, step / 100 - 0.4)
            time.sleep(0.01)
        lines = drawn(bars, width)
        assert len(lines) == 4
        assert all(len(line) <= max(60, width - 2) for line in lines), lines
        assert re.match(r"all runs .* 0/4 +\d\d:\d\d", lines[0])
        for line, spec in zip(lines[1:], plan[1:], strict=True):
            curve = re.escape(sparkline([float(k) for k in range(LOOKS)]))
            found = re.fullmatch(
                rf"(.+) {spec.class_name} seed {spec.seed} +━*[╸╺]?━* +epoch 1030 {curve} -0\.10 "
                r"+(\d\d:\d\d) *",
                line,
            )
            assert found, line
            assert found[1] == "ridge" or found[1].startswith("mcmoe[")
            if width == 80 and found[1] != "ridge":
                assert found[1].endswith("…"), "the method is cut, not class and seed"
                assert line.count("━") + line.count("╸") >= 5, "there is room for a bar"
        bars.run_waits(plan[1])
        assert "elsewhere" in drawn(bars, width)[1]
        bars.run_ended(plan[1], record(plan[1]), True)
        bars.run_ended(plan[2], record(plan[2], "Its process was ended by SIGKILL [x]."), False)
        assert [line.split(" seed")[0][-3:] for line in drawn(bars, width)[1:]] == ["PCS"]
        bars.say("the queue does not answer [yet]")
        assert drawn(bars, width)[0].startswith("all runs")
        bars.run_ended(plan[3], record(plan[3]), False)
    left = " ".join(" ".join(screen(file.getvalue())).split())
    label = " ".join(plan[2].label.split())
    assert re.sub(r"done in \d s", "done", left) == (
        f"[1/4] ridge TES seed 1: done by another process [2/4] {label}: FAILED: Its process was "
        f"ended by SIGKILL [x]. the queue does not answer [yet] [3/4] {plan[3].label}: done"
    ), "nothing else is left on the screen"


def test_nothing_is_left_on_the_screen_after_an_error(plan: list[RunSpec]) -> None:
    file = io.StringIO()

    def interrupted() -> None:
        with RunBars(Console(force_terminal=True, width=80, file=file), plan) as bars:
            bars.run_ended(plan[0], record(plan[0]), True)
            bars.run_started(plan[1], 2, 4)
            time.sleep(0.2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert "starting" in file.getvalue()
    assert [x for x in screen(file.getvalue()) if x] == ["1 of 4 runs are stored already."]
    assert file.getvalue().count("\x1b[?25l") == file.getvalue().count("\x1b[?25h") == 1, "cursor"


def test_plain_lines(plan: list[RunSpec], clock: Callable[[float], None]) -> None:
    file = io.StringIO()
    with display_for("auto", Console(width=80, file=file), plan) as shown:
        shown.say("preparing the data")
        shown.run_ended(plan[0], record(plan[0]), True)
        shown.run_ended(plan[2], record(plan[2]), True)
        shown.run_started(plan[1], 2, 4)
        shown.run_started(plan[3], 4, 4)
        shown.run_progress(plan[1], Step(1, 100, 1))
        clock(EVERY + 1)
        shown.run_progress(plan[1], Step(20, 100, 1))
        shown.run_progress(plan[1], Step(21, 100, 1))
        shown.run_looked(plan[1], 1, 0.5)
        shown.run_waits(plan[3])
        clock(EVERY + 1)
        shown.run_progress(plan[1], Step(40, 100, 2))
        shown.run_ended(plan[1], record(plan[1], "RuntimeError: [red]"), False)
        clock(600)
        shown.run_ended(plan[3], record(plan[3]), False)
    assert file.getvalue().splitlines() == [
        "preparing the data …",
        "2 of 4 runs are stored already.",
        "[2/4] ridge TES seed 1: step 20 of 100, loss 0.750, 64 s left",
        f"{plan[3].label}: another process is doing it, waiting for its result",
        "[2/4] ridge TES seed 1: step 40 of 100, loss 0.750, 48 s left",
        "[3/4] ridge TES seed 1: FAILED: RuntimeError: [red]",
        f"[4/4] {plan[3].label}: done in 11 min",
    ]


def test_json_events_are_a_line_each_with_what_is_promised(
    plan: list[RunSpec], capsys: pytest.CaptureFixture[str]
) -> None:
    with display_for("json", Console(stderr=True), plan) as shown:
        everything(shown, plan)
        shown.run_progress(plan[0], Step(3, 60, 1, {"mse": float("nan"), "l\n": float("inf")}))
    said = capsys.readouterr()
    assert said.err == ""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    events = [json.loads(line, parse_constant=refuse) for line in said.out.splitlines()]
    for event in events:
        assert event.keys() == {"event", "time", *KEYS[event["event"]]}
        assert abs(event["time"] - time.time()) < 60
    assert {event["event"] for event in events} == set(KEYS)
    started = next(e for e in events if e["event"] == "started")
    assert (started["run"], started["number"], started["total"]) == ("ridge TES seed 0", 1, 4)
    assert started["key"] == plan[0].key
    assert events[-1]["loss"] == {"mse": None, "l\n": None}
    ended = [(e["status"], e["error"], e["stored"]) for e in events if e["event"] == "ended"]
    assert ended == [("finished", "", True), ("failed", "out of luck", False)]


def everything(shown: Display, plan: list[RunSpec]) -> None:
    """Let all happen that may, and what should not but might."""
    shown.say("preparing the data")
    shown.run_ended(plan[2], record(plan[2]), True)
    shown.run_started(plan[0], 1, 4)
    shown.run_waits(plan[0])
    for step in (Step(0, 0, 0, {}), Step(0, 60, 0), Step(61, 60, 1), Step(30, 60, 1)):
        shown.run_progress(plan[0], step)
    shown.run_looked(plan[0], 1, -0.25)
    shown.run_looked(plan[0], 2, 0.5)
    shown.run_ended(plan[0], record(plan[0], "out of luck"), False)


@pytest.fixture(params=["plain", "json", "bars"])
def any_display(request: pytest.FixtureRequest, plan: list[RunSpec]) -> Iterator[Display]:
    console = Console(force_terminal=request.param == "bars", width=80, file=io.StringIO())
    progress = "auto" if request.param == "bars" else request.param
    with display_for(progress, console, plan) as shown:
        yield shown


def test_a_clock_that_jumps_stops_nothing(
    any_display: Display,
    plan: list[RunSpec],
    clock: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("time.time", lambda: -5.0)
    any_display.run_started(plan[1], 2, 4)
    for jump in (0, 1e9, -2e9, 1e9, EVERY + 1, 0):
        clock(jump)
        for step in (Step(0, 60, 0), Step(0, 0, 0, {}), Step(3, 60, 1)):
            any_display.run_progress(plan[1], step)
    everything(any_display, plan)
    clock(-1e6)
    any_display.run_ended(plan[1], record(plan[1]), False)


def test_a_display_is_chosen(plan: list[RunSpec], tmp_path: Path) -> None:
    terminal = Console(force_terminal=True, width=80, file=io.StringIO())
    assert isinstance(display_for("auto", terminal, plan), RunBars)
    assert type(display_for("plain", terminal, plan)).__name__ == "PlainLines"
    with (tmp_path / "log").open("w") as file:
        assert type(display_for("auto", Console(file=file), plan)).__name__ == "PlainLines"

"""Trials: the same whatever is interrupted, on validation alone, failures as rows."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from aqabench.board.select import by_condition
from aqabench.board.tuned import tuned_notes
from aqabench.cli.search_table import print_search
from aqabench.data.features import FeatureSet
from aqabench.data.splits import split_rows
from aqabench.errors import AqabenchError, MethodError, StoreError, UsageError
from aqabench.method.registry import discover
from aqabench.runs.execute import execute
from aqabench.runs.listener import Listener
from aqabench.runs.parts import make_parts
from aqabench.runs.plan import Question, RunSpec, make_plan
from aqabench.runs.resume import Outcome
from aqabench.runs.store import RunStore
from aqabench.runs.tuning import Params, read_params, tuned_plan
from aqabench.search.engine import Search, conclude, generations, make_search, ordered, run_search
from aqabench.search.trials import Trial, TrialStore
from tests.search.toys import (
    TOY,
    TRIALS,
    Quiet,
    in_process,
    plain,
    searched,
    spoilt,
    toy_registry,
    toy_search,
)


def folded(question: Question) -> Question:
    """Return the question with two folds in the place of its lists."""
    split = question.protocol.split.model_copy(update={"scheme": "kfold", "k": 2})
    return replace(question, protocol=question.protocol.model_copy(update={"split": split}))


def test_generations_cover_all_numbers_once_and_do_not_depend_on_how_many() -> None:
    assert [list(g) for g in generations(17)] == [[*range(11)], [11, 12, 13, 14], [15, 16]]
    for fewer in range(1, 30):
        assert [n for own in generations(fewer) for n in own] == list(range(fewer))
        for short, long in zip(generations(fewer), generations(40), strict=False):
            assert short.start == long.start


def test_trials_are_the_same_again_and_others_under_another_seed(
    question: Question, data: FeatureSet, tmp_path: Path, whole: list[Trial]
) -> None:
    search, first = toy_search(question, tmp_path), whole
    assert plain(searched(search, TRIALS, data, tmp_path / "b")) == plain(first)
    other = searched(toy_search(question, tmp_path, seed=1), 3, data, tmp_path / "c")
    assert other[1].settings != first[1].settings
    assert other[0].criterion == first[0].criterion
    assert [t.number for t in first] == list(range(TRIALS))
    assert first[0].settings == {}
    for trial in first[1:]:
        assert set(trial.settings) == {"lr", "mix", "depth", "act"}
        assert 1e-5 <= trial.settings["lr"] <= 0.1
        assert type(trial.settings["depth"]) is int
    assert ordered(first)[0].criterion > first[0].criterion


def test_the_criterion_is_that_of_the_runs(
    two_classes: Question, data: FeatureSet, tmp_path: Path
) -> None:
    """A run with the same settings has the same validation curve, and z is what is averaged."""
    search = toy_search(two_classes, tmp_path)
    trial = searched(search, 2, data, tmp_path / "a")[1]
    runs = RunStore(tmp_path / "runs")
    plan = make_plan(two_classes, search.registry, ["toy"], trial.settings, [0])
    found = {}
    for record in in_process(data, search, runs)(plan, Quiet()).records:
        rows = [row for row in runs.curve(record) if row["part"] == "val"]
        found[record.class_name] = max(row["criterion"] for row in rows)
    assert trial.criterion == pytest.approx(np.mean(list(found.values())), abs=1e-12)
    assert trial.validation == pytest.approx(np.tanh(trial.criterion), abs=1e-12)
    assert trial.classes == pytest.approx({c: np.tanh(z) for c, z in found.items()}, abs=1e-12)


@pytest.mark.parametrize("after", [4, 12])
def test_a_search_that_was_interrupted_gives_the_same_trials(
    question: Question, data: FeatureSet, tmp_path: Path, whole: list[Trial], after: int
) -> None:
    search = toy_search(question, tmp_path / "plugin")
    with pytest.raises(KeyboardInterrupt):
        searched(search, TRIALS, data, tmp_path / "cut", at_most=after)
    kept = {p: p.stat().st_mtime_ns for p in (tmp_path / "cut" / "trials").glob("*.json")}
    assert len(kept) == after
    assert plain(searched(search, TRIALS, data, tmp_path / "cut")) == plain(whole)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept, "a kept trial is not written again"
    begun = (tmp_path / "plugin" / "begun").read_text().splitlines()
    assert len(begun) == len(set(begun)) == TRIALS, "nothing is done twice"


def test_more_trials_go_on_and_fewer_are_the_first_of_them(
    question: Question, data: FeatureSet, tmp_path: Path, whole: list[Trial]
) -> None:
    search = toy_search(question, tmp_path)
    searched(search, 12, data, tmp_path / "grown")  # in the middle of a generation
    assert plain(searched(search, TRIALS, data, tmp_path / "grown")) == plain(whole)
    assert plain(searched(search, 5, data, tmp_path / "grown")) == plain(whole[:5])


def test_what_runs_first_does_not_matter(
    question: Question, data: FeatureSet, tmp_path: Path, whole: list[Trial]
) -> None:
    search = toy_search(question, tmp_path)
    kept = TrialStore(tmp_path / "back", search.searched.digest)
    do = in_process(data, search, kept.runs)
    back = run_search(search, TRIALS, kept, lambda p, listener: do(p[::-1], listener), Quiet())
    assert plain(back[None]) == plain(whole)


@pytest.mark.parametrize("fold", [None, 1])
def test_garbage_in_the_place_of_test_changes_nothing(
    question: Question,
    data: FeatureSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fold: int | None,
) -> None:
    """The proof that a search is blind to test: labels of 1e6 and features of NaN go unnoticed."""
    rng = np.random.default_rng(0)
    if fold is not None:  # what tests it trains the others, so that only it is searched
        monkeypatch.setattr(Search, "folds", (fold,))
        question, number = folded(question), np.arange(len(data.ids)) % 2
        split = question.protocol.split.model_copy(
            update={"scheme": "published-folds", "k": None, "folds": "halves"}
        )
        question = replace(
            question,
            protocol=question.protocol.model_copy(update={"split": split}),
            dataset=question.dataset.model_copy(update={"folds": {"halves": 2}}),
        )
        data = dataclasses.replace(data, folds={"halves": number})
    search = toy_search(question, tmp_path)
    trials = 13 if fold is None else 3
    honest = searched(search, trials, data, tmp_path / "a")
    assert {trial.fold for trial in honest} == {fold}
    blind = spoilt(data, question, "test", rng, fold)
    assert plain(searched(search, trials, blind, tmp_path / "b")) == plain(honest)
    plan = make_plan(question, search.registry, ["toy"], {}, [0], ["TES"])
    runs = RunStore(tmp_path / "runs")
    plan = [spec for spec in plan if spec.fold == fold]
    frame = runs.predictions(in_process(blind, search, runs)(plan, Quiet()).records[0])
    assert frame[frame["part"] == "test"]["score"].abs().max() > 1e5, "a run does notice"
    seeing = spoilt(data, question, "val", rng, fold)
    other = searched(search, 2, seeing, tmp_path / "c")
    assert plain(other) != plain(honest[:2]), "garbage in validation is noticed"


def test_nothing_of_test_is_made_or_kept(
    question: Question, data: FeatureSet, tmp_path: Path
) -> None:
    search = toy_search(question, tmp_path)
    spec = search.plan(1, None, {"lr": 0.5e-3})[0]
    assert set(make_parts(spec, data)) == {"train", "val"}
    searched(search, 2, data, tmp_path / "a")
    runs = TrialStore(tmp_path / "a", search.searched.digest).runs
    split = question.protocol.split
    assert by_condition(runs.records()) == {}
    for record in runs.records():
        assert record.identity["validation_only"] is True
        assert set(record.samples) == {"train", "val"}
        assert set(record.selected_epochs) == {"val", "last"}
        class_spec = next(c for c in question.dataset.classes if c.name == record.class_name)
        rows = split_rows(data, question.dataset, class_spec, split)["test"]
        frame = runs.predictions(record)
        assert set(frame["part"]) == {"val"}
        assert not set(frame["sample_id"]) & {data.ids[i] for i in rows}
        assert {row["part"] for row in runs.curve(record)} == {"val"}


def test_a_trial_is_never_taken_for_a_run(two_classes: Question, tmp_path: Path) -> None:
    search = toy_search(two_classes, tmp_path)
    trial = search.plan(0, None, {})
    runs = make_plan(two_classes, search.registry, ["toy"], {}, [0])
    assert [s.settings for s in trial] == [s.settings for s in runs]
    assert not {s.key for s in trial} & {s.key for s in runs}


def test_failures_are_rows_with_their_reason_and_the_search_goes_on(
    two_classes: Question, data: FeatureSet, tmp_path: Path
) -> None:
    search = toy_search(two_classes, tmp_path, breaks=0.5)
    trials = searched(search, TRIALS, data, tmp_path / "a")
    failed = [t for t in trials if t.status == "failed"]
    assert trials[0] in failed  # whose mix is 0.9
    assert 3 <= len(failed) < TRIALS - 3
    assert trials[-1].number == TRIALS - 1
    for trial in failed:
        assert trial.criterion is None
        assert "TES seed 0: RuntimeError: the mix is too rich" in trial.error
        assert "PCS seed 0: RuntimeError" in trial.error
    params = conclude(search, TRIALS, {None: trials})
    assert params is not None
    assert params.choices[0].of_published is None
    assert params.choices[0].settings["mix"] <= 0.5
    assert params.searched.given == {"breaks": 0.5}


def test_a_search_in_which_all_fails_chooses_nothing(
    question: Question, data: FeatureSet, tmp_path: Path
) -> None:
    search = toy_search(question, tmp_path, breaks=9)
    trials = searched(search, 12, data, tmp_path / "a")  # the last knows of failures only
    assert {t.status for t in trials} == {"failed"}
    assert "not finite" in trials[-1].error
    assert conclude(search, 12, {None: trials}) is None


def test_among_equals_the_published_settings_win(
    question: Question, data: FeatureSet, tmp_path: Path
) -> None:
    text = TOY.replace("return self._sign * (told + noise", "return self._sign * told + 0 * (noise")
    search = make_search(question, toy_registry(tmp_path, text), "toy", {})
    params = conclude(search, 4, {None: searched(search, 4, data, tmp_path / "a")})
    assert params is not None
    assert (params.choices[0].trial, params.choices[0].settings) == (0, {})


def test_equal_settings_share_their_runs(
    question: Question, data: FeatureSet, tmp_path: Path
) -> None:
    search = toy_search(question, tmp_path / "p", lr=1e-3, mix=0.5, depth=1)  # leaves two settings
    assert set(search.ranges) == {"act"}
    kept = TrialStore(tmp_path / "a", search.searched.digest)
    heard = Quiet()
    every = run_search(search, TRIALS, kept, in_process(data, search, kept.runs), heard)
    assert len(every[None]) == TRIALS
    assert len((tmp_path / "p" / "begun").read_text().splitlines()) == 2
    assert len({t.criterion for t in every[None]}) == 1  # the toy does not look at it
    assert len(heard.ended) == TRIALS


def test_runs_are_counted_on(question: Question, data: FeatureSet, tmp_path: Path) -> None:
    search = toy_search(question, tmp_path)
    kept = TrialStore(tmp_path / "a", search.searched.digest)
    with pytest.raises(KeyboardInterrupt):
        run_search(search, 13, kept, in_process(data, search, kept.runs, 3), Quiet())
    heard = Quiet()

    def do(plan: Sequence[RunSpec], listener: Listener) -> Outcome:
        return execute(plan, data, search.registry, kept.runs, listener)

    run_search(search, 13, kept, do, heard)
    assert [was for _, _, was in heard.ended].count(True) == 3
    assert heard.numbers == [(n, 13) for n in range(4, 14)]


def test_each_fold_has_a_search_of_its_own(
    two_classes: Question, data: FeatureSet, tmp_path: Path
) -> None:
    question = folded(two_classes)
    search = toy_search(question, tmp_path)
    kept = TrialStore(tmp_path / "a", search.searched.digest)
    every = run_search(search, 3, kept, in_process(data, search, kept.runs), Quiet())
    assert list(every) == [0, 1]
    assert every[0][1].settings != every[1][1].settings
    names = {p.name for p in (tmp_path / "a" / "trials").iterdir()}
    assert names == {f"fold{f}-000{n}.json" for f in (0, 1) for n in range(3)}
    params = conclude(search, 3, every)
    assert params is not None
    said = StringIO()
    print_search(Console(file=said, width=120), search, every, params)
    for part in ("on validation · fold 0", "on validation · fold 1", "by class", "published"):
        assert part in said.getvalue()
    chosen = {choice.fold: choice.settings for choice in params.choices}
    for spec in tuned_plan(params, question, search.registry, [0, 1]):
        assert {k: spec.settings[k] for k in chosen[spec.fold]} == chosen[spec.fold]
    assert len(tuned_plan(params, question, search.registry, [0, 1])) == 2 * 2 * 2
    plan = tuned_plan(params, question, search.registry, [0], ["TES"])
    runs = RunStore(tmp_path / "runs")
    (note,) = tuned_notes(in_process(data, search, runs)(plan, Quiet()).records)
    assert "settings of each fold were chosen on its own validation part among 3 trials" in note
    assert "; fold 1: " in note


def test_a_search_names_what_can_change_a_trial(question: Question, tmp_path: Path) -> None:
    digest = toy_search(question, tmp_path).searched.digest
    changed = [
        toy_search(question, tmp_path, seed=1),
        toy_search(question, tmp_path, breaks=1.0),
        make_search(question, toy_registry(tmp_path), "toy", {}, count=2),
        toy_search(replace(question, data_digest="other"), tmp_path),
        toy_search(
            replace(question, budget=question.budget.model_copy(update={"steps": 7})), tmp_path
        ),
        toy_search(question, tmp_path / "wider"),
    ]
    wider = TOY.replace('("linear", 0, 1)', '("linear", 0, 0.9)')
    changed[-1] = make_search(question, toy_registry(tmp_path / "wider", wider), "toy", {})
    digests = {search.searched.digest for search in changed}
    assert len(digests | {digest}) == len(changed) + 1
    assert toy_search(question, tmp_path, breaks=1).searched == changed[1].searched


def test_what_cannot_be_searched_is_refused(question: Question, tmp_path: Path) -> None:
    bare = question.protocol.split.model_copy(update={"validation": None})
    protocol = question.protocol.model_copy(update={"split": bare, "selection": "oracle"})
    with pytest.raises(UsageError, match=r"fisv-missing has no validation part.*aqabench list"):
        toy_search(replace(question, protocol=protocol), tmp_path)
    with pytest.raises(UsageError, match=r"nothing to search for constant: its card has no.*gdlt"):
        make_search(question, discover(), "constant", {})
    given = {"lr": 1e-3, "mix": 0.1, "depth": 1, "act": "relu"}
    with pytest.raises(UsageError, match=r"act, depth, lr, mix\) are fixed by --set"):
        toy_search(question, tmp_path, **given)
    with pytest.raises(UsageError, match=r"row for each stream.*--set stream=video"):
        make_search(question, discover(), "unimodal", {})
    with pytest.raises(UsageError, match="has 5 seeds, 6 were asked for"):
        make_search(question, discover(), "mcmoe", {}, count=6)
    with pytest.raises(UsageError, match=r"no setting 'lrr'\. Did you mean 'lr'"):
        toy_search(question, tmp_path, lrr=1)
    broken = TOY.replace('("log", 1e-5', '("log", 0.0')
    with pytest.raises(MethodError, match="begins at or below zero"):
        make_search(question, toy_registry(tmp_path, broken), "toy", {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:40], "is not a trial of this version"),
        (lambda text: text.replace('"number": 1', '"number": 2'), "is another trial: number 2"),
        (lambda text: text.replace('"search": "', '"search": "f'), "of search f"),
    ],
)
def test_a_damaged_trial_is_named(
    question: Question,
    data: FeatureSet,
    tmp_path: Path,
    change,  # type: ignore[no-untyped-def]
    message: str,
) -> None:
    search = toy_search(question, tmp_path)
    before = searched(search, 2, data, tmp_path / "a")
    path = tmp_path / "a" / "trials" / "0001.json"
    path.write_text(change(path.read_text()))
    with pytest.raises(StoreError, match=message):
        searched(search, 2, data, tmp_path / "a")
    path.unlink()  # as the message says
    assert plain(searched(search, 2, data, tmp_path / "a")) == plain(before)


@pytest.fixture
def params(two_classes: Question, data: FeatureSet, tmp_path: Path) -> Params:
    search = toy_search(two_classes, tmp_path)
    found = conclude(search, 3, {None: searched(search, 3, data, tmp_path / "a")})
    assert found is not None
    return found


def test_a_tuned_run_is_not_the_run_of_equal_settings(
    two_classes: Question, params: Params, tmp_path: Path
) -> None:
    registry = toy_registry(tmp_path)
    path = tmp_path / "params.json"
    path.write_text(params.model_dump_json())
    assert read_params(path) == params
    tuned = tuned_plan(params, two_classes, registry, [0])
    same = make_plan(two_classes, registry, ["toy"], params.choices[0].settings, [0])
    assert [s.settings for s in tuned] == [s.settings for s in same]
    assert not {s.key for s in tuned} & {s.key for s in same}
    assert {s.row for s in tuned} == {"toy (tuned, 3 trials)"}
    assert tuned[0].identity["tuned"] == {"search": params.search, "trials": 3}
    by_class = {s.class_name: s.settings["breaks"] for s in tuned}
    assert by_class == {"TES": 2.0, "PCS": 2.0}


def test_rows_of_two_searches_are_told_apart(
    two_classes: Question, data: FeatureSet, params: Params, tmp_path: Path
) -> None:
    registry = toy_registry(tmp_path)
    runs = RunStore(tmp_path / "runs")
    plan = [
        *make_plan(two_classes, registry, ["toy"], {}, [0]),
        *tuned_plan(params, two_classes, registry, [0]),
    ]
    records = list(execute(plan, data, registry, runs, Quiet()).records)
    assert [r.row for r in records] == 2 * ["toy"] + 2 * ["toy (tuned, 3 trials)"]
    (rows,) = by_condition(records).values()
    assert [run.name for run in rows] == ["toy", "toy (tuned, 3 trials)"]
    assert rows[1].records[0].tuned is not None
    other = [
        r.model_copy(update={"tuned": r.tuned.model_copy(update={"search": "abcdef0123"})})
        for r in records
        if r.tuned is not None
    ]
    (rows,) = by_condition(records + other).values()
    names = {f"toy (tuned, 3 trials) {digest}" for digest in ("abcdef01", params.search[:8])}
    assert {run.name: len(run.records) for run in rows} == dict.fromkeys({"toy", *names}, 2)
    changed = {**records[2].identity, "source_digest": "mended"}
    newer = records[2].model_copy(update={"identity": changed, "started": "2999-01-01"})
    (rows,) = by_condition([*records, *other, newer]).values()
    assert [(run.name, len(run.records), run.older) for run in rows] == [
        ("toy", 2, 0),
        ("toy (tuned, 3 trials)", 1, 4),
    ], "of tuned rows, too, the newest source counts"
    (note,) = tuned_notes(records[2:])
    assert "chosen on validation among 3 trials of budget quick, 1 seed each (search " in note


def test_settings_are_refused_where_they_were_not_chosen(
    two_classes: Question, params: Params, tmp_path: Path
) -> None:
    registry = toy_registry(tmp_path)
    again = "Search again: aqabench search --method toy --protocol fisv-missing"
    for what, other in (
        ("the protocol is another one", replace(two_classes, protocol_digest="x")),
        ("the data is another one", replace(two_classes, data_digest="x")),
    ):
        with pytest.raises(UsageError, match=what) as caught:
            tuned_plan(params, other, registry)
        assert again in str(caught.value)
    longer = replace(two_classes, budget=two_classes.budget.model_copy(update={"steps": 99}))
    assert tuned_plan(params, longer, registry)  # what it was tuned under is said beside it
    toy_registry(tmp_path, TOY + "\n# mended\n")
    with pytest.raises(UsageError, match="the source of the method is another one"):
        tuned_plan(params, two_classes, discover([tmp_path / "toy.py"]))


@pytest.mark.parametrize("place", ["trials", "choices", "searched", "nothing"])
def test_a_file_that_was_changed_is_refused(params: Params, tmp_path: Path, place: str) -> None:
    path = tmp_path / "params.json"
    content = json.loads(params.model_dump_json())
    if place == "searched":
        content["searched"]["budget"]["steps"] = 99
    elif place == "trials":
        content["trials"] = 0
    elif place == "choices":
        content["choices"] = []
    path.write_text(json.dumps(content) if place != "nothing" else "{")
    with pytest.raises(AqabenchError, match=r"changed by hand|is no outcome of a search"):
        read_params(path)

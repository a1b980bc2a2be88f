"""A run's key changes with everything that can change a number, and with nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from aqabench.errors import UsageError
from aqabench.method.registry import discover
from aqabench.protocol.library import load_protocol
from aqabench.protocol.schema import BUDGETS, Protocol
from aqabench.runs.plan import Question, make_plan


@pytest.fixture(scope="module")
def question() -> Question:
    asked = load_protocol("fisv-missing")
    return Question(
        asked.protocol, asked.dataset, asked.digest, "simulated", "f" * 64, BUDGETS["quick"]
    )


def test_one_run_per_method_class_and_seed(question: Question) -> None:
    plan = make_plan(question, discover(), ["ridge", "gdlt"], {}, seeds=[0, 1])
    assert [(s.method, s.class_name, s.seed) for s in plan] == [
        (m, c, s) for m in ("ridge", "gdlt") for c in ("TES", "PCS") for s in (0, 1)
    ]
    assert len({s.key for s in plan}) == 8


def test_published_settings_follow_the_class(question: Question) -> None:
    tes, pcs = make_plan(question, discover(), ["gdlt"], {})
    assert (tes.settings["epochs"], pcs.settings["epochs"]) == (320, 400)
    assert tes.settings["dropout"] == 0.7


@pytest.mark.parametrize(
    "change",
    [
        {"protocol_digest": "0"},
        {"data_digest": "0"},
        {"data_kind": "real"},
        {"budget": BUDGETS["standard"]},
    ],
)
def test_the_key_knows_the_question(question: Question, change: dict[str, object]) -> None:
    first = make_plan(question, discover(), ["ridge"], {})[0]
    other = replace(first, question=replace(question, **change))  # type: ignore[arg-type]
    assert other.key != first.key


@pytest.mark.parametrize(
    "change", [{"source_digest": "0"}, {"settings": {"std": False}}, {"seed": 7}]
)
def test_the_key_knows_the_run(question: Question, change: dict[str, object]) -> None:
    first = make_plan(question, discover(), ["ridge"], {})[0]
    assert replace(first, **change).key != first.key  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def rgb() -> Question:
    asked = load_protocol("fisv-rgb")
    return Question(asked.protocol, asked.dataset, asked.digest, "simulated", "f", BUDGETS["quick"])


def test_a_method_that_the_protocol_cannot_feed_is_refused(rgb: Question, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 2 modalities, but protocol fisv-rgb has v only"):
        make_plan(rgb, discover(), ["mcmoe"], {})
    plugin = tmp_path / "listens.py"
    plugin.write_text(
        "from aqabench.baselines.constant import Constant\n"
        "from aqabench.method.card import MethodCard\n\n\n"
        "class Listens(Constant):\n"
        "    card = MethodCard(name='listens', title='L', kind='baseline', summary='s',\n"
        "                      missing='m', needs=('a',))\n"
    )
    with pytest.raises(UsageError, match="needs the modality a, but protocol fisv-rgb has v only"):
        make_plan(rgb, discover([plugin]), ["listens"], {})


def test_a_method_that_needs_complete_training_is_refused_where_samples_lack_streams() -> None:
    methods = ["mcmoe", "ridge", "gdlt", "early-fusion", "late-fusion", "unimodal"]
    for training in ({"kind": "u7"}, {"kind": "rate", "rate": 0.5}):
        asked = load_protocol("fisv-missing")
        question = Question(
            Protocol(**{**asked.protocol.model_dump(), "training": training}),
            asked.dataset, asked.digest, "simulated", "f", BUDGETS["quick"],
        )  # fmt: skip
        with pytest.raises(
            UsageError,
            match=r"mcmoe-released cannot train where samples lack modalities \(one mask for a "
            r"whole batch.*\(Q6\)\), and in protocol fisv-missing training samples do\. Leave "
            r"mcmoe-released out.*aqabench list protocols",
        ):
            make_plan(question, discover(), [*methods, "mcmoe-released"], {})
        assert make_plan(question, discover(), methods, {})


def test_a_method_of_one_stream_gets_a_row_for_each_unless_one_is_named(question: Question) -> None:
    rows = make_plan(question, discover(), ["unimodal"], {"lr": 1e-3}, classes=["TES"])
    assert [s.overrides for s in rows] == [
        {"lr": 1e-3, "stream": stream} for stream in ("video", "audio", "flow")
    ]
    assert [s.settings["stream"] for s in rows] == ["video", "audio", "flow"]
    assert len({s.key for s in rows}) == 3
    (named,) = make_plan(question, discover(), ["unimodal"], {"stream": "audio"}, classes=["PCS"])
    assert named.overrides == {"stream": "audio"}
    both = make_plan(question, discover(), ["unimodal", "gdlt"], {}, classes=["PCS"])
    assert [(s.method, s.settings["stream"]) for s in both][2:] == [
        ("unimodal", "flow"),
        ("gdlt", "video"),
    ]


@pytest.mark.parametrize("method", ["unimodal", "gdlt"])
def test_a_stream_that_the_protocol_does_not_have_is_refused_at_once(
    rgb: Question, method: str
) -> None:
    with pytest.raises(
        UsageError, match=r"'audio', but protocol fisv-rgb has video\. .* --set stream=video"
    ):
        make_plan(rgb, discover(), [method], {"stream": "audio"})


def test_a_default_stream_that_the_protocol_does_not_have_asks_for_a_choice(
    question: Question,
) -> None:
    deaf = question.protocol.model_copy(update={"modalities": ("audio", "flow")})
    elsewhere = replace(question, protocol=deaf)
    with pytest.raises(UsageError, match=r"gdlt reads the stream 'video'.* --set stream=audio"):
        make_plan(elsewhere, discover(), ["gdlt"], {})
    assert len(make_plan(elsewhere, discover(), ["unimodal"], {}, classes=["TES"])) == 2


# --- folds and groups -----------------------------------------------------------------------------


def _asked(name: str, **changes: object) -> Question:
    asked = load_protocol(name)
    question = Question(
        asked.protocol, asked.dataset, asked.digest, "simulated", "f" * 64, BUDGETS["quick"]
    )
    return replace(question, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["fisv-athlete-missing", "percepiano-missing"])
def test_each_fold_is_a_run_of_its_own(name: str) -> None:
    plan = make_plan(_asked(name), discover(), ["ridge"], {}, seeds=[0, 1])
    assert [s.fold for s in plan[:5]] == [0, 1, 2, 3, 4]
    assert len(plan) == len({s.key for s in plan}) == 2 * 2 * 5
    assert plan[3].label.endswith("seed 0 fold 3")


def test_the_official_split_has_no_fold_and_keeps_its_keys() -> None:
    spec = make_plan(_asked("fisv-missing"), discover(), ["ridge"], {})[0]
    assert spec.fold is None
    assert "fold" not in spec.identity


def test_labels_change_the_key_only_of_what_reads_them() -> None:
    known, other = ({"groups": ("athlete",), "groups_digest": d} for d in ("1", "2"))
    for protocol, method, changes in (
        ("fisv-missing", "ridge", False),
        ("fisv-missing", "identity", True),
        ("fisv-athlete-missing", "ridge", True),
    ):
        keys = [
            make_plan(_asked(protocol, **labels), discover(), [method], {})[0].key
            for labels in (known, other)
        ]
        assert (keys[0] != keys[1]) == changes, (protocol, method)


def test_identity_without_labels_says_how_to_add_them() -> None:
    with pytest.raises(UsageError, match=r"data import fisv --groups FILE\.csv.*athlete"):
        make_plan(_asked("fisv-missing"), discover(), ["identity"], {})


def test_a_split_names_only_what_the_data_set_has(tmp_path: Path) -> None:
    text = (
        "name: mine\nversion: 1\ntitle: t\nquestion: q\ndataset: fisv\nclasses: [TES]\n"
        "modalities: [video]\nsplit: {scheme: grouped, k: 5, group: skater, validation: null}\n"
        "selection: last\nscenarios: [{kind: subsets}]\naverage: {name: A, over: all}\n"
    )
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="'skater' is not one of athlete, event"):
        load_protocol(str(path))
    path.write_text(text.replace("grouped, k: 5, group: skater", "published-folds, folds: cup"))
    with pytest.raises(UsageError, match="'cup' is not offered: the data set has none"):
        load_protocol(str(path))

"""The simulator hits its targets; the tables of ``docs/simulator.md`` state them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import simulator_probe as probe
from scipy.stats import skew, spearmanr

from aqabench.data import simulator
from aqabench.data._simulation_laws import law_for
from aqabench.data._simulation_scores import ScoreTable, draw_scores
from aqabench.data.features import FeatureSet, check_features
from aqabench.data.simulator import simulate, simulation_digest
from aqabench.protocol.library import load_dataset
from aqabench.protocol.schema import ClassSpec, DatasetSpec, ModalitySpec

SEEDS = range(6)
COMPONENTS = ("SS", "TR", "PE", "CO", "IN")


def small(**changes: object) -> DatasetSpec:
    """Return a data set of one's own, in miniature."""
    fields: dict[str, object] = {
        "name": "own",
        "version": 1,
        "title": "Own",
        "about": "made for a test",
        "modalities": (
            ModalitySpec(name="touch", symbol="t", width=24),
            ModalitySpec(name="flow", symbol="f", width=16),
        ),
        "classes": (ClassSpec(name="grade", bounds=(1.0, 6.0), train=30, test=10),),
        "same_videos": True,
        "clip_length": 12,
    }
    return DatasetSpec(**{**fields, **changes})  # type: ignore[arg-type]


def tables(name: str) -> list[ScoreTable]:
    spec = load_dataset(name)
    return [draw_scores(spec, law_for(spec), seed=seed, groups=True) for seed in SEEDS]


def mean_of(measure: Callable[[ScoreTable], object], drawn: list[ScoreTable]) -> np.ndarray:
    return np.mean([measure(table) for table in drawn], axis=0)


@pytest.fixture(scope="module")
def fisv() -> FeatureSet:
    return simulate(load_dataset("fisv"))


@pytest.fixture(scope="module")
def fisv_pooled(fisv: FeatureSet) -> probe.Pooled:
    return probe.pool(fisv)


# --- what comes out -------------------------------------------------------------------------------


def test_fisv_has_the_shapes_and_the_split_of_the_real_one(fisv: FeatureSet) -> None:
    check_features(fisv, load_dataset("fisv"))
    assert fisv.kind == "simulated"
    assert "simulated" in fisv.source
    assert fisv.ids[0] == "sim-0001"
    assert fisv.ids[-1] == "sim-0500"
    assert fisv.split.tolist() == ["train"] * 400 + ["test"] * 100
    assert {m: x.shape[1] for m, x in fisv.features.items()} == {
        "video": 1024,
        "audio": 768,
        "flow": 1024,
    }
    for array in fisv.features.values():
        assert array.dtype == np.float16
        assert np.isfinite(array).all()


@pytest.mark.parametrize(("name", "train", "test"), [("rg", 800, 200), ("fs1000", 1247, 357)])
def test_split_sizes_and_bounds(name: str, train: int, test: int) -> None:
    spec = load_dataset(name)
    table = tables(name)[0]
    assert table.split.tolist() == ["train"] * train + ["test"] * test
    for c in spec.classes:
        scored = np.isfinite(table.scores[c.name])
        assert (scored & (table.split == "train")).sum() == c.train
        assert (scored & (table.split == "test")).sum() == c.test
        points = table.scores[c.name][scored]
        assert c.bounds[0] <= points.min() <= points.max() <= c.bounds[1]
        np.testing.assert_allclose(points * 100, np.round(points * 100), atol=1e-6)


def test_rg_classes_are_disjoint_videos() -> None:
    scores = np.stack(list(tables("rg")[0].scores.values()))
    assert (np.isfinite(scores).sum(0) == 1).all()


def test_equal_seed_gives_equal_bits_and_another_seed_does_not() -> None:
    spec = small()
    one, same, other = simulate(spec, seed=3), simulate(spec, seed=3), simulate(spec, seed=4)
    for modality, array in one.features.items():
        np.testing.assert_array_equal(array, same.features[modality])
    np.testing.assert_array_equal(one.scores["grade"], same.scores["grade"])
    assert one.digest == same.digest
    assert one.digest != other.digest
    assert not np.array_equal(one.scores["grade"], other.scores["grade"])


def test_a_modality_does_not_depend_on_its_companions() -> None:
    spec = small()
    alone = simulate(small(modalities=spec.modalities[:1]))
    np.testing.assert_array_equal(alone.features["touch"], simulate(spec).features["touch"])


def test_the_digest_names_everything_that_changes_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    base = small()
    variants = [
        simulation_digest(base, 0),
        simulation_digest(base, 1),
        simulation_digest(base, 0, group_effects=False),
        simulation_digest(small(clip_length=13), 0),
        simulation_digest(small(name="other"), 0),
        simulation_digest(small(modalities=base.modalities[::-1]), 0),
        simulation_digest(
            small(classes=(ClassSpec(name="grade", bounds=(0.0, 6.0), train=30, test=10),)), 0
        ),
        simulation_digest(small(same_videos=False), 0),
    ]
    monkeypatch.setattr(simulator, "SIMULATOR_VERSION", simulator.SIMULATOR_VERSION + 1)
    variants.append(simulation_digest(base, 0))
    assert len(set(variants)) == len(variants)
    monkeypatch.undo()
    prose = small(title="Another title", about="other words", version=2)
    assert simulation_digest(prose, 0) == variants[0]
    assert simulate(base).digest == variants[0]


def test_needs_no_torch() -> None:
    code = "import sys, aqabench.data.simulator; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- lengths and scores ---------------------------------------------------------------------------


def test_lengths_follow_the_laws() -> None:
    for table in tables("fisv"):
        assert (table.lengths.min(), table.lengths.max()) == (124, 302)
        assert np.median(table.lengths) == 135
    rg = np.concatenate([table.lengths for table in tables("rg")])
    assert rg.mean() == pytest.approx(71.6, abs=0.15)
    assert rg.std() == pytest.approx(1.2, abs=0.1)
    assert rg.min() >= 67
    assert rg.max() <= 77
    for table in tables("fs1000"):
        free = np.char.endswith(table.parts["programme"].astype(str), "free")
        assert table.lengths[~free].max() < table.lengths[free].min()
        assert 0.3 < free.mean() < 0.5


@pytest.mark.parametrize(
    ("name", "score", "mean", "sd", "lean"),
    [
        ("fisv", "TES", 29.67, 6.45, -0.68),
        ("fisv", "PCS", 27.11, 5.28, -0.52),
        ("rg", "Ball", 15.18, 3.25, -0.26),
        ("rg", "Clubs", 15.44, 3.43, -0.08),
        ("rg", "Hoop", 15.21, 3.45, -0.08),
        ("rg", "Ribbon", 13.87, 3.26, -0.09),
        ("fs1000", "TES", 46.8, 17.7, 0.80),
        ("fs1000", "SS", 7.28, 1.30, -0.6),
        ("fs1000", "PE", 7.22, 1.29, -0.6),
    ],
)
def test_score_laws(name: str, score: str, mean: float, sd: float, lean: float) -> None:
    def moments(table: ScoreTable) -> list[float]:
        points = table.scores[score][np.isfinite(table.scores[score])]
        return [points.mean(), points.std(), float(skew(points))]

    measured = mean_of(moments, tables(name))
    assert measured[0] == pytest.approx(mean, abs=0.06 * sd)
    assert measured[1] == pytest.approx(sd, rel=0.05)
    assert measured[2] == pytest.approx(lean, abs=0.2)


def test_fisv_scores_go_together_as_published() -> None:
    for table in tables("fisv"):
        assert spearmanr(table.scores["TES"], table.scores["PCS"])[0] == pytest.approx(
            0.80, abs=0.03
        )


def test_rg_totals_are_difficulty_plus_execution_minus_penalty() -> None:
    drawn = tables("rg")
    for table in drawn:
        total = table.parts["difficulty"] + table.parts["execution"] - table.parts["penalty"]
        scores = np.nansum(np.stack(list(table.scores.values())), axis=0)
        np.testing.assert_allclose(scores, np.clip(total, 0, 25), atol=0.0051)
        assert (table.parts["penalty"] > 0).mean() == pytest.approx(0.14, abs=0.04)
    for name in drawn[0].scores:
        of_class = np.isfinite(drawn[0].scores[name])

        def together(table: ScoreTable, rows: np.ndarray = of_class) -> float:
            return float(
                spearmanr(table.parts["difficulty"][rows], table.parts["execution"][rows])[0]
            )

        assert 0.65 <= mean_of(together, drawn) <= 0.80


def test_fs1000_components_carry_one_factor_and_sum_to_pcs() -> None:
    for table in tables("fs1000"):
        components = np.stack([table.scores[name] for name in COMPONENTS])
        np.testing.assert_allclose(components.sum(0), table.scores["PCS"], atol=1e-9)
        between = np.corrcoef(components)[np.triu_indices(5, 1)]
        np.testing.assert_allclose(between, 0.97, atol=0.015)
        assert 0.5 < spearmanr(table.scores["TES"], table.scores["SS"])[0] < 0.72


# --- athletes -------------------------------------------------------------------------------------


def test_athletes_cross_the_split_and_explain_scores_as_in_fisv() -> None:
    drawn = tables("fisv")
    for table in drawn:
        assert len(np.unique(table.athlete)) == 148
        crossing = np.isin(table.athlete[400:], table.athlete[:400]).sum()
        assert crossing == pytest.approx(87, abs=10)
    for score, share in (("TES", 0.63), ("PCS", 0.84)):

        def explained(table: ScoreTable, name: str = score) -> float:
            return probe.between_groups(table.scores[name], table.athlete)

        assert mean_of(explained, drawn) == pytest.approx(share, abs=0.03)


def test_identity_leaks_only_with_group_effects(fisv: FeatureSet) -> None:
    for score, least in (("TES", 0.45), ("PCS", 0.65)):
        guess, truth = probe.identity_prediction(fisv, score)
        assert spearmanr(guess, truth)[0] > least
    table = draw_scores(load_dataset("fisv"), law_for(load_dataset("fisv")), seed=0, groups=False)
    assert len(np.unique(table.athlete)) == 500
    foreign = probe.between_groups(table.scores["PCS"], fisv.groups["athlete"])
    assert foreign < 0.35  # what 81 means explain by chance, about 0.19
    assert simulate(small(), group_effects=False).groups == {}


def test_features_carry_identity_mildly(fisv: FeatureSet, fisv_pooled: probe.Pooled) -> None:
    means = fisv_pooled["video"][0][:, :200].astype(np.float64)
    share = np.median([probe.between_groups(column, fisv.groups["athlete"]) for column in means.T])
    assert share == pytest.approx(0.305, abs=0.06)  # as measured on Fis-V RGB; chance is 0.19


# --- features -------------------------------------------------------------------------------------


def test_video_moves_like_the_real_features(fisv: FeatureSet, fisv_pooled: probe.Pooled) -> None:
    found = probe.statistics(fisv, "video", fisv_pooled["video"][0])
    assert found["mean"] == pytest.approx(0.0, abs=0.08)
    assert found["sd"] == pytest.approx(0.78, abs=0.05)
    assert found["offset_sd"] == pytest.approx(0.70, abs=0.05)
    assert found["negative"] == pytest.approx(0.5, abs=0.03)
    assert found["lag1"] == pytest.approx(0.61, abs=0.03)
    assert found["between"] == pytest.approx(0.22, abs=0.03)
    assert found["rank"] == pytest.approx(94, abs=15)
    assert found["rank_between"] == pytest.approx(41, abs=12)


def test_audio_is_signed_and_dense_flow_is_rectified(
    fisv: FeatureSet, fisv_pooled: probe.Pooled
) -> None:
    audio = probe.statistics(fisv, "audio", fisv_pooled["audio"][0])
    assert audio["negative"] == pytest.approx(0.5, abs=0.05)
    assert audio["zero"] < 0.01
    flow = probe.statistics(fisv, "flow", fisv_pooled["flow"][0])
    assert flow["negative"] == 0
    assert 0.35 < flow["zero"] < 0.6


# --- learnability ---------------------------------------------------------------------------------


def test_unimodal_levels_and_their_order(fisv: FeatureSet, fisv_pooled: probe.Pooled) -> None:
    found = probe.levels(fisv, load_dataset("fisv"), fisv_pooled, singles_only=True)
    level = {name: probe.average(found, name) for name in ("v", "a", "f", "vaf")}
    assert level["vaf"] > level["v"] > level["f"] > level["a"]
    for name, target in (("v", 0.75), ("a", 0.57), ("f", 0.68), ("vaf", 0.82)):
        assert level[name] == pytest.approx(target, abs=0.08)  # 100 test videos


def test_a_missing_modality_can_be_completed_in_part(
    fisv: FeatureSet, fisv_pooled: probe.Pooled
) -> None:
    for modality in fisv.features:
        assert 0.3 < probe.completion(fisv, fisv_pooled, modality) < 0.55


def test_element_clips_tell_more_than_the_mean(fisv: FeatureSet, fisv_pooled: probe.Pooled) -> None:
    spec = load_dataset("fisv")
    _, gate, burst = simulator._directions(spec, spec.modalities[0], 0)
    read = np.empty(500)
    for row in range(500):
        video = fisv.video(row, "video").astype(np.float32)
        clips = np.argsort(video @ gate)[-round(0.14 * len(video)) :]
        read[row] = (video[clips] @ burst).mean()
    over_all = fisv_pooled["video"][0] @ burst
    tes = fisv.scores["TES"]
    attended, averaged = (spearmanr(x, tes)[0] for x in (read, over_all))
    assert attended > 0.5
    assert attended > averaged + 0.05


def test_a_small_net_learns_it_in_eighty_steps(fisv: FeatureSet) -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    train, test = fisv.rows("PCS", "train"), fisv.rows("PCS", "test")
    sampled = []
    for modality in fisv.features:  # every sixth clip, as in the quick budget
        clips = [fisv.video(row, modality)[::6][:21] for row in range(500)]
        sampled.append(np.stack([c.astype(np.float32).mean(0) for c in clips]))
    x = torch.from_numpy(np.hstack(sampled))
    y = torch.from_numpy(fisv.scores["PCS"] / 40).float()
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 256), torch.nn.ReLU(), torch.nn.Linear(256, 1)
    )
    optimiser = torch.optim.Adam(net.parameters(), lr=2e-4)
    for step in range(80):
        batch = train[np.random.default_rng(step).permutation(len(train))[:32]]
        loss = ((net(x[batch])[:, 0] - y[batch]) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        assert spearmanr(net(x[test])[:, 0].numpy(), y[test].numpy())[0] > 0.6


# --- data sets of one's own -----------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 4, 8])
def test_any_number_of_modalities(count: int) -> None:
    spec = small(
        modalities=tuple(
            ModalitySpec(name=f"m{k}", symbol="abcdefgh"[k], width=16 + k) for k in range(count)
        ),
        classes=tuple(
            ClassSpec(name=name, bounds=(-1.0, 1.0), train=40, test=10) for name in ("x", "y", "z")
        ),
    )
    data = simulate(spec)
    check_features(data, spec)
    clarity = [stream.clarity[0] for stream in law_for(spec).streams.values()]
    assert clarity == sorted(clarity, reverse=True)


@pytest.mark.parametrize("same_videos", [True, False])
@pytest.mark.parametrize("clip_length", [1, 5])
def test_the_smallest_sets_work(same_videos: bool, clip_length: int) -> None:
    spec = small(
        modalities=(ModalitySpec(name="one", symbol="o", width=1),),
        classes=tuple(
            ClassSpec(name=name, bounds=(0.0, 0.5), train=2, test=2) for name in ("x", "y")
        ),
        same_videos=same_videos,
        clip_length=clip_length,
    )
    data = simulate(spec)
    check_features(data, spec)
    assert len(data.ids) == (4 if same_videos else 8)


def test_classes_with_fewer_videos_are_scored_in_part() -> None:
    classes = (
        ClassSpec(name="x", bounds=(0.0, 1.0), train=30, test=10),
        ClassSpec(name="y", bounds=(0.0, 1.0), train=20, test=10),
    )
    data = simulate(small(classes=classes))
    assert [len(data.rows(name, "train")) for name in ("x", "y")] == [30, 20]
    assert len(data.ids) == 40


def test_a_known_name_with_other_classes_gets_the_generic_law() -> None:
    spec = small(name="fisv")
    assert set(law_for(spec).scores) == {"grade"}
    check_features(simulate(spec), spec)


# --- wide calibration and the real thing ----------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "seeds", "targets"),
    [
        ("fisv", 8, {"v": 0.75, "a": 0.57, "f": 0.68, "vaf": 0.82}),
        ("rg", 5, {"v": 0.71, "a": 0.32, "f": 0.60, "vaf": 0.80}),
        ("fs1000", 3, {"v": 0.845, "a": 0.615, "f": 0.75, "vaf": 0.88}),
    ],
)
def test_population_levels(name: str, seeds: int, targets: dict[str, float]) -> None:
    mean = probe.calibration(load_dataset(name), range(seeds))
    assert mean["vaf"] > mean["v"] > mean["f"] > mean["a"]
    assert mean == pytest.approx(targets, abs=0.03)


@pytest.mark.real_data
def test_the_measured_facts_hold_on_the_real_features(shared_data: Path) -> None:
    folder = shared_data / "fisv-rgb"
    if not folder.is_dir():
        pytest.skip(f"the real Fis-V RGB features are absent: {folder}")
    ids = [
        line.split()[0]
        for part in ("train.txt", "test.txt")
        for line in (folder / part).read_text().splitlines()
    ]
    videos = [np.load(folder / "swintx_avg_fps25_clip32" / f"{i}.npy") for i in ids]
    data = FeatureSet(
        dataset="fisv",
        kind="real",
        digest="",
        ids=tuple(ids),
        offsets=np.cumsum([0, *(len(v) for v in videos)]),
        features={"video": np.concatenate(videos)},
        scores={},
        split=np.array(["train"] * 400 + ["test"] * 100),
    )
    assert (data.lengths.min(), np.median(data.lengths), data.lengths.max()) == (124, 135, 302)
    found = probe.statistics(data, "video", probe.pool(data)["video"][0])
    assert found["sd"] == pytest.approx(0.782, abs=0.002)
    assert found["offset_sd"] == pytest.approx(0.699, abs=0.002)
    assert found["lag1"] == pytest.approx(0.61, abs=0.01)
    assert found["between"] == pytest.approx(0.219, abs=0.005)
    assert found["rank"] == pytest.approx(94, abs=3)
    assert found["rank_between"] == pytest.approx(41, abs=1)

"""Averages and runs: a video as the cluster, seeds nested, everything joined by sample id."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sps

from aqabench.errors import DataError
from aqabench.stats import (
    Cell,
    Flag,
    Reason,
    Status,
    average_ci,
    bootstrap_z,
    compare_average,
    compare_runs,
    compare_spearman,
    draw_videos,
    fisher_mean,
    jackknife_z,
    prepare,
    spearman,
    spearman_ci,
)


def _cells(classes, n, *, seeds=1, scenarios=("full",), shared=False, noise=0.6, seed=0, data=7):
    """Cells of one method; ``data`` fixes the videos and labels, ``seed`` the predictions."""
    labels, errors = np.random.default_rng(data), np.random.default_rng(seed)
    base = labels.normal(size=n)
    cells = []
    for c, name in enumerate(classes):
        y = base + 0.5 * labels.normal(size=n) if shared else labels.normal(size=n)
        ids = [f"v{i:03d}" if shared else f"{c}-{i:03d}" for i in range(n)]
        for scenario in scenarios:
            common = noise * errors.normal(size=n)
            for s in range(seeds):
                p = y + common + 0.2 * errors.normal(size=n)
                cells.append(Cell(name, scenario, s, ids, y, p))
    return cells


def test_one_cell_is_the_plain_jackknife():
    (cell,) = _cells(["TES"], 60)
    (other,) = _cells(["TES"], 60, seed=1)
    average, single = average_ci([cell]), spearman_ci(cell.y, cell.p)
    assert (average.low, average.high) == pytest.approx((single.low, single.high))
    pair, plain = compare_runs([cell], [other]), compare_spearman(cell.y, cell.p, other.p)
    assert pair.p_value == pytest.approx(plain.p_value)
    assert Flag.SINGLE_SEED in pair.flags


def test_independent_classes_add_their_variances():
    a = _cells(["Ball", "Clubs", "Hoop", "Ribbon"], 50)
    b = _cells(["Ball", "Clubs", "Hoop", "Ribbon"], 50, seed=1)
    variances, differences = [], []
    for ca, cb in zip(a, b, strict=True):
        variances.append(spearman_ci(ca.y, ca.p).se_z ** 2)
        differences.append(compare_spearman(ca.y, ca.p, cb.p).se_z ** 2)
    average, pair = average_ci(a), compare_average(a, b)
    assert average.se_z**2 == pytest.approx(sum(variances) / 16)
    assert pair.se_z**2 == pytest.approx(sum(differences) / 16)
    assert pair.df == pytest.approx(sum(differences) ** 2 / sum(v**2 / 49 for v in differences))
    assert (average.n, average.n_classes) == (200, 4)
    assert average.estimate == pytest.approx(fisher_mean([spearman(c.y, c.p) for c in a]))


def test_shared_videos_are_deleted_from_every_class():
    a = _cells(["TES", "PCS"], 100, shared=True)
    z = np.stack([jackknife_z(c.y, c.p)[1][0] for c in a]).mean(axis=0)
    expected = 99 / 100 * ((z - z.mean()) ** 2).sum()
    average = average_ci(a)
    assert average.se_z**2 == pytest.approx(expected)
    assert average.df == pytest.approx(99)
    assert average.n == 100


def test_classes_can_be_declared_independent_although_ids_coincide():
    a = [c._replace(sample_ids=range(50)) for c in _cells(["Ball", "Hoop"], 50)]
    joined, apart = average_ci(a), average_ci(a, independent_classes=True)
    assert (joined.n, apart.n) == (50, 100)
    assert apart.se_z == pytest.approx(average_ci(_cells(["Ball", "Hoop"], 50)).se_z)


def test_a_video_missing_from_one_class_keeps_that_class_whole():
    tes, pcs = _cells(["TES", "PCS"], 40, shared=True)
    short = pcs._replace(sample_ids=pcs.sample_ids[:-1], y=pcs.y[:-1], p=pcs.p[:-1])
    table = prepare([tes, short])
    last = table.videos.index(("", tes.sample_ids[-1]))
    z_tes = jackknife_z(tes.y, tes.p)[1][0]
    z_pcs = jackknife_z(short.y, short.p)[0][0]
    assert table.replicates[0, last] == pytest.approx((z_tes[-1] + z_pcs) / 2)
    assert (table.components == 0).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_joined_by_id_whatever_the_order(seed):
    rng = np.random.default_rng(seed)
    options = {"seeds": 2, "shared": True, "scenarios": ("full", "video")}
    a = _cells(["TES", "PCS"], 30, **options)
    b = _cells(["TES", "PCS"], 30, seed=1, **options)
    shuffled = []
    for c in b:
        order = rng.permutation(30)
        shuffled.append((*c[:3], [c.sample_ids[i] for i in order], c.y[order], c.p[order]))
    moved = [shuffled[i] for i in rng.permutation(len(shuffled))]
    one, other = compare_runs(a, b), compare_runs(a, moved)
    assert other.p_value == pytest.approx(one.p_value, abs=1e-12)
    back = compare_runs(moved, a)
    assert (back.difference, back.p_value) == pytest.approx((-one.difference, one.p_value))
    assert (back.low, back.high) == pytest.approx((-one.high, -one.low))


def test_seed_variance_components_by_hand():
    a = _cells(["TES"], 60, seeds=4, noise=0.3, seed=3)
    b = _cells(["TES"], 60, seeds=3, noise=0.5, seed=4)

    def parts(cells):
        z, left = jackknife_z(cells[0].y, np.stack([c.p for c in cells]))

        def variance(x):
            return 59 / 60 * ((x - x.mean()) ** 2).sum()

        s = len(cells)
        inside = s / (s - 1) * (np.mean([variance(r) for r in left]) - variance(left.mean(axis=0)))
        return z, left.mean(axis=0), max(0.0, z.var(ddof=1) - inside) / s, variance

    za, ra, ea, variance = parts(a)
    zb, rb, eb, _ = parts(b)
    samples = variance(ra - rb)
    result = compare_runs(a, b)
    assert result.variance_samples == pytest.approx(samples)
    assert result.variance_seeds == pytest.approx(ea + eb)
    assert result.se_z == pytest.approx(math.sqrt(samples + ea + eb))
    assert result.difference_z == pytest.approx(za.mean() - zb.mean())
    df = (samples + ea + eb) ** 2 / (samples**2 / 59 + ea**2 / 3 + eb**2 / 2)
    assert result.df == pytest.approx(df)
    assert result.p_value == pytest.approx(2 * sps.t.sf(abs(result.statistic), df))
    assert (result.n_seeds_a, result.n_seeds_b) == (4, 3)
    fixed = compare_average(a, b)
    assert fixed.se_z == pytest.approx(math.sqrt(samples))
    short = compare_runs(a, b, seed_term="conservative")
    seeds = za.var(ddof=1) / 4 + zb.var(ddof=1) / 3
    assert short.se_z == pytest.approx(math.sqrt(samples + seeds))


def test_seeds_are_not_paired():
    a, b = _cells(["TES"], 50, seeds=3), _cells(["TES"], 50, seeds=3, seed=1)
    renamed = [c._replace(seed=(c.seed + 1) % 3 + 10) for c in b]
    assert compare_runs(a, b).p_value == pytest.approx(compare_runs(a, renamed).p_value)


def test_seed_spread_is_reported():
    cells = _cells(["TES"], 50, seeds=5)
    rhos = [spearman(c.y, c.p) for c in cells]
    ci = average_ci(cells)
    assert ci.seed_sd == pytest.approx(np.std(rhos, ddof=1))
    assert ci.n_seeds == 5
    assert "5 seeds" in str(ci)
    assert math.isnan(average_ci(cells[:1]).seed_sd)


def test_swap_of_one_cell_is_the_plain_swap():
    (a,), (b,) = _cells(["TES"], 40), _cells(["TES"], 40, seed=1)
    average = compare_average([a], [b], method="swap", n_resamples=500)
    plain = compare_spearman(a.y, a.p, b.p, "swap", n_resamples=500)
    assert average.p_value == plain.p_value
    assert average.low == plain.low


def test_swap_of_averages_is_near_the_jackknife():
    options = {"seeds": 2, "shared": True}
    a = _cells(["TES", "PCS"], 150, noise=0.4, **options)
    b = _cells(["TES", "PCS"], 150, noise=0.55, seed=1, **options)
    swap, jackknife = (compare_average(a, b, method=m) for m in ("swap", "jackknife"))
    assert swap.statistic == pytest.approx(jackknife.statistic, rel=0.1)
    assert swap.p_value == pytest.approx(jackknife.p_value, abs=0.05)


def test_identical_methods():
    a = _cells(["TES", "PCS"], 50, shared=True)
    b = [c._replace(p=np.exp(c.p)) for c in a]
    for compare in (compare_average, compare_runs):
        result = compare(a, b)
        assert (result.status, result.difference, result.p_value) == ("identical_rankings", 0, 1)


def test_one_undefined_cell_makes_the_average_undefined():
    a = _cells(["TES", "PCS"], 50, shared=True)
    broken = [a[0]._replace(p=np.ones(50)), a[1]]
    ci = average_ci(broken)
    assert (ci.status, ci.reason) == (Status.UNDEFINED, Reason.CONSTANT_PREDICTIONS)
    assert math.isnan(ci.estimate)
    pair = compare_runs(a, broken)
    assert pair.reason is Reason.CONSTANT_PREDICTIONS
    assert pair.estimate_a == pytest.approx(average_ci(a).estimate)
    zero = average_ci(broken, undefined_as_zero=True)
    assert Flag.UNDEFINED_AS_ZERO in zero.flags
    rhos = [math.nan, spearman(a[1].y, a[1].p)]
    assert zero.estimate == pytest.approx(fisher_mean(rhos, undefined_as_zero=True))


def test_small_tests_have_no_interval():
    few = _cells(["TES"], 9)
    assert average_ci(few).reason is Reason.TOO_FEW
    assert math.isfinite(average_ci(few).estimate)
    assert compare_runs(few, _cells(["TES"], 9, seed=1)).reason is Reason.TOO_FEW
    assert Flag.SMALL_N in average_ci(_cells(["TES"], 20)).flags


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: [], "at least one cell"),
        (lambda c: [*c, c[0]], "seed 0 of PCS / full is given twice"),
        (lambda c: c[1:], "same seeds .*Got 0, 1 for TES / full"),
        (lambda c: [c[0]._replace(sample_ids=["v000"] * 30), *c[1:]], "'v000' occurs twice"),
        (lambda c: [c[0]._replace(y=c[0].y + 1), *c[1:]], "label of sample 'v000' differs"),
        (lambda c: [c[0]._replace(p=c[0].p * math.nan), *c[1:]], "nan_prediction: p holds NaN"),
        (
            lambda c: [c[0]._replace(sample_ids=[f"w{i}" for i in range(30)]), *c[1:]],
            "test videos differ .*same protocol digest",
        ),
    ],
    ids=["none", "twice", "hole", "duplicate id", "labels", "nan", "ids"],
)
def test_bad_cells_are_refused(change, message):
    cells = _cells(["PCS", "TES"], 30, seeds=2, shared=True)
    with pytest.raises(DataError, match=message):
        average_ci(change(cells))


def test_methods_on_different_tests_are_refused():
    a = _cells(["PCS", "TES"], 30, shared=True)
    with pytest.raises(DataError, match="only one of them has TES / full"):
        compare_runs(a, a[:1])
    with pytest.raises(DataError, match="PCS / full: the label of sample"):
        compare_runs(a, _cells(["PCS", "TES"], 30, shared=True, data=8))


def test_bootstrap_of_the_average():
    cells = _cells(["TES", "PCS"], 30, seeds=2, shared=True)
    table = prepare(cells)
    counts = draw_videos(np.random.default_rng(0), 6, table.components)
    drawn = [np.repeat(np.arange(30), c.astype(int)) for c in counts]
    expected = [np.mean([math.atanh(spearman(c.y[d], c.p[d])) for c in cells]) for d in drawn]
    assert bootstrap_z(table, counts) == pytest.approx(expected)
    independent = prepare(_cells(["Ball", "Hoop"], 20))
    counts = draw_videos(np.random.default_rng(0), 50, independent.components)
    assert (counts[:, independent.components == 0].sum(axis=1) == 20).all()
    assert (counts[:, independent.components == 1].sum(axis=1) == 20).all()


def test_prepared_tables_are_taken_as_they_are():
    a, b = _cells(["TES"], 50, seeds=3), _cells(["TES"], 50, seeds=3, seed=1)
    assert compare_runs(prepare(a), prepare(b)) == compare_runs(a, b)
    table = prepare(a)
    assert prepare(table) is table

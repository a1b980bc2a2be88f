"""The laws of damage without a flag: counts, chances, noise for ever the same, order of ids."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from statistics import NormalDist
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as sps

from aqabench.errors import UsageError
from aqabench.protocol import noise_laws
from aqabench.protocol.mask_tables import table_generator
from aqabench.protocol.noise_laws import (
    DAMAGES,
    Damage,
    changes_nothing,
    channels,
    damage,
    damage_digest,
    freeze,
    noise_seeds,
    normal_noise,
    shift,
    swap,
)

PINNED = [0.35204428, -0.37714332, -0.59716725, -0.65695333, 0.33055648]
QUANTILES = "8babbcaf96568f10165a1eab530c0e5c92d04de96761b6dbb3dadfa94baba37f"
GOLDEN = {
    "gauss": "f10820635bd865c3",
    "channels": "bcadc17661372dcd",
    "shift": "0da62e088e707b98",
    "freeze": "a7a7de58e28dbcad",
    "swap": "758fbf33c3444840",
    "scale": "84fec4ac7427f2cf",
}
IDS = [f"video-{number:03d}" for number in range(30)]
LENGTHS = [1 + number % 7 for number in range(30)]
WIDTHS = {"video": 12, "audio": 7, "flow": 12}
LEVELS = {"gauss": 0.5, "channels": 0.3, "shift": 2, "freeze": 0.5, "swap": 1, "scale": 0.5}


def rng(*axes: int) -> np.random.Generator:
    return np.random.default_rng([45, *axes])


def near(share: float | np.ndarray, law: float, n: int) -> bool:
    return bool((np.abs(share - law) <= 3 * np.sqrt(law * (1 - law) / n) + 1e-12).all())


def drawn(
    kind: str, names: tuple[str, ...] = tuple(WIDTHS), order: list[int] | None = None, draw: int = 0
) -> Damage:
    """Damage of the thirty samples, in some order."""
    places = order or list(range(len(IDS)))
    ids, lengths = [IDS[i] for i in places], [LENGTHS[i] for i in places]
    widths = {name: WIDTHS[name] for name in names}
    return damage(kind, LEVELS[kind], widths, ids, lengths, "rg", "test", draw)


# --- noise ----------------------------------------------------------------------------------------


def test_noise_is_standard_normal() -> None:
    n = 400_000
    noise = normal_noise(3, n).astype(float)
    assert normal_noise(3, n).dtype == np.float32
    assert abs(noise.mean()) < 3 / np.sqrt(n)
    assert abs(noise.var() - 1) < 3 * np.sqrt(2 / n)
    assert sps.kstest(noise, "norm").pvalue > 0.01
    assert abs((noise[1:] * noise[:-1]).mean()) < 3 / np.sqrt(n)  # neighbours share a word
    assert abs((noise * normal_noise(4, n)).mean()) < 3 / np.sqrt(n)  # seeds side by side


def test_the_quantiles_are_symmetric_with_variance_one() -> None:
    quantiles = noise_laws._quantiles().astype(float)
    assert (quantiles == -quantiles[::-1]).all()
    assert (np.diff(quantiles) > 0).all()
    assert (quantiles**2).mean() == pytest.approx(1, abs=1e-8)
    other = np.array([NormalDist().inv_cdf((k + 0.5) / 65536) for k in range(65536)])
    assert (quantiles == (other / other.std()).astype(np.float32)).all()  # another algorithm


def test_noise_is_the_same_for_ever() -> None:
    """Every table of gauss depends on these numbers, and so do published results."""
    assert (normal_noise(20260, 5) == np.array(PINNED, dtype=np.float32)).all()
    quantiles = noise_laws._quantiles().astype("<f4").tobytes()
    assert hashlib.sha256(quantiles).hexdigest() == QUANTILES


@given(seed=st.integers(0, 2**64 - 1), count=st.integers(0, 40), more=st.integers(0, 40))
@settings(max_examples=30, deadline=None)
def test_more_noise_begins_with_the_same_numbers(seed: int, count: int, more: int) -> None:
    noise = normal_noise(seed, count + more)
    assert noise.shape == (count + more,)
    assert (noise[:count] == normal_noise(seed, count)).all()
    words = np.random.PCG64(np.random.SeedSequence(seed)).random_raw(20)
    place = [int(word) >> shift & 0xFFFF for word in words for shift in (0, 16, 32, 48)]
    assert (noise == noise_laws._quantiles()[place[: count + more]]).all()


def test_every_sample_has_a_seed_of_its_own() -> None:
    seeds = noise_seeds(5000, rng(1))
    assert seeds.dtype == np.uint64
    assert len(np.unique(seeds)) == 5000
    assert near((seeds >> np.uint64(63)).mean(), 0.5, 5000)


# --- channels, steps, samples ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "share", "lost"),
    [
        (10, 0.0, 0),
        (10, 0.1, 1),
        (1024, 0.3, 307),
        (7, 0.5, 4),
        (3, 0.99, 2),
        (3, 1.0, 3),
        (1, 0.5, 0),
        (1, 0.9, 0),
        (100, 0.29, 29),
    ],
)
def test_channels_lose_the_rounded_share(width: int, share: float, lost: int) -> None:
    kept = channels(40, width, share, rng(2))
    assert kept.shape == (40, width)
    assert kept.dtype == np.bool_
    assert ((~kept).sum(axis=1) == lost).all()


def test_all_channels_are_as_likely_to_be_lost() -> None:
    lost = ~channels(6000, 8, 0.25, rng(3))
    assert near(lost.mean(axis=0), 1 / 4, 6000)
    assert near((lost[:, 0] & lost[:, 5]).mean(), 1 / 28, 6000)  # every pair alike
    assert near((lost[1:, 0] & lost[:-1, 0]).mean(), 1 / 16, 6000)  # samples apart


def test_shift_goes_either_way() -> None:
    moved = shift(4000, 4.0, rng(4))
    assert moved.dtype == np.int64
    assert set(moved.tolist()) == {-4, 4}
    assert near((moved > 0).mean(), 0.5, 4000)
    assert (shift(9, 0, rng(4)) == 0).all()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 1.0])
def test_frozen_steps_are_counted_and_have_one_before_them(share: float) -> None:
    lengths = np.tile([1, 2, 7, 40, 90], 40)
    first, count = freeze(lengths, share, rng(5)).T
    assert (count == np.minimum(np.rint((share * lengths).round(9)), lengths - 1)).all()
    assert (first >= 1).all()
    assert (first + count <= lengths).all()
    assert (first[lengths == 1] == 1).all()
    assert (count[lengths == 1] == 0).all()


def test_the_first_frozen_step_is_uniform() -> None:
    first, count = freeze(np.full(5000, 10), 0.5, rng(6)).T
    assert (count == 5).all()
    assert near(np.bincount(first, minlength=6)[1:] / 5000, 1 / 5, 5000)
    assert set(first.tolist()) == {1, 2, 3, 4, 5}


@given(n=st.integers(2, 60), seed=st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_swap_is_one_cycle_through_all(n: int, seed: int) -> None:
    partner = swap(n, rng(seed))
    at, seen = 0, []
    for _ in range(n):
        at = int(partner[at])
        seen.append(at)
    assert at == 0
    assert sorted(seen) == list(range(n))


def test_every_cycle_is_as_likely() -> None:
    g = rng(7)
    found = np.array([swap(4, g) for _ in range(6000)])
    _, counts = np.unique(found, axis=0, return_counts=True)
    assert len(counts) == 6  # (4 - 1)!
    assert near(counts / 6000, 1 / 6, 6000)


# --- the damage of a part -------------------------------------------------------------------------


def test_a_stream_of_its_own_leaves_other_tables_as_they_are() -> None:
    words = [20260, crc32(b"rg"), crc32(b"test"), 17, 500, 1]
    for stream, more in (("", []), ("audio", [crc32(b"audio")])):
        seeds = np.random.SeedSequence([*words, *more])
        expected = np.random.Generator(np.random.PCG64(seeds)).random(4)
        found = table_generator("rg", "test", "gauss", 0.5, 1, stream=stream).random(4)
        assert (found == expected).all()
        plain = table_generator("rg", "test", "gauss", 0.5, 1).random(4)
        assert (found == plain).all() == (stream == "")


@pytest.mark.parametrize("kind", DAMAGES)
def test_tables_are_those_of_the_laws_over_sorted_ids(kind: str) -> None:
    found = drawn(kind)
    n, level, laws = len(IDS), LEVELS[kind], {}
    for name, width in WIDTHS.items():
        g = table_generator("rg", "test", kind, level, 0, stream=name)
        laws[name] = {
            "gauss": lambda g=g: noise_seeds(n, g),
            "channels": lambda g=g, width=width: channels(n, width, level, g),
            "shift": lambda g=g: shift(n, level, g),
            "freeze": lambda g=g: freeze(LENGTHS, level, g),
            "swap": lambda g=g: swap(n, g),
            "scale": lambda: np.zeros((n, 0), dtype=bool),
        }[kind]()
    assert (found.kind, found.level, list(found.tables)) == (kind, level, list(WIDTHS))
    for name in WIDTHS:
        assert found.tables[name].dtype == laws[name].dtype
        assert (found.tables[name] == laws[name]).all()
    if kind not in ("scale", "swap", "shift", "freeze"):
        assert found.tables["video"].tobytes() != found.tables["flow"].tobytes()


@pytest.mark.parametrize("kind", DAMAGES)
@given(order=st.permutations(range(len(IDS))))
@settings(max_examples=15, deadline=None)
def test_the_order_of_the_ids_does_not_matter(kind: str, order: list[int]) -> None:
    ids, lengths = [IDS[i] for i in order], [LENGTHS[i] for i in order]
    straight, mixed = drawn(kind), drawn(kind, order=order)
    for name in WIDTHS:
        if kind == "swap":
            partners = {one: ids[k] for one, k in zip(ids, mixed.tables[name], strict=True)}
            assert partners == {
                one: IDS[k] for one, k in zip(IDS, straight.tables[name], strict=True)
            }
        else:
            assert (mixed.tables[name] == straight.tables[name][order]).all()
    assert damage_digest(mixed, ids, lengths) == damage_digest(straight, IDS, LENGTHS)


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_table_does_not_depend_on_what_else_is_damaged(kind: str) -> None:
    alone, among = drawn(kind, ("audio",)), drawn(kind)
    assert set(alone.tables) == {"audio"}
    assert (alone.tables["audio"] == among.tables["audio"]).all()
    reverse = drawn(kind, ("flow", "audio", "video"))
    assert damage_digest(reverse, IDS, LENGTHS) == damage_digest(among, IDS, LENGTHS)


@pytest.mark.parametrize("kind", ["gauss", "channels", "shift", "freeze", "swap"])
def test_draws_and_modalities_differ(kind: str) -> None:
    tables = [drawn(kind).tables[name].tobytes() for name in ("video", "flow")]
    tables.append(drawn(kind, draw=1).tables["video"].tobytes())
    assert len(set(tables)) == 3


@pytest.mark.parametrize("kind", ["gauss", "channels", "shift", "freeze", "swap"])
def test_the_digest_sees_everything(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = drawn(kind)
    first = next(iter(whole.tables))
    touched = {name: table.copy() for name, table in whole.tables.items()}
    last = touched[first].reshape(-1)
    last[-1] = ~last[-1] if last.dtype == bool else last[-1] + 1 if kind != "swap" else last[-2]
    other = {("tone" if name == first else name): table for name, table in whole.tables.items()}
    digests = [
        damage_digest(whole, IDS, LENGTHS),
        damage_digest(replace(whole, level=0.75), IDS, LENGTHS),
        damage_digest(replace(whole, kind="scale"), IDS, LENGTHS),
        damage_digest(replace(whole, tables=touched), IDS, LENGTHS),
        damage_digest(replace(whole, tables=other), IDS, LENGTHS),
        damage_digest(drawn(kind, ("video", "audio")), IDS, LENGTHS),
        damage_digest(whole, [*IDS[:-1], "video-900"], LENGTHS),
        damage_digest(whole, IDS, [*LENGTHS[:-1], 50]),
    ]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 64 for digest in digests)
    monkeypatch.setattr(noise_laws, "normal_noise", lambda seed, n: np.zeros(n, np.float32))
    assert (damage_digest(whole, IDS, LENGTHS) != digests[0]) == (kind == "gauss")


def test_golden_digests() -> None:
    """Damage published with one release is redrawn by every later one, bit for bit."""
    found = {kind: damage_digest(drawn(kind), IDS, LENGTHS)[:16] for kind in DAMAGES}
    assert found == GOLDEN


def test_what_changes_nothing() -> None:
    for kind in DAMAGES:
        assert changes_nothing(kind, 0) == (kind not in ("scale", "swap"))
        assert changes_nothing(kind, 1) == (kind == "scale")
        assert not changes_nothing(kind, 0.5)
        level = {"scale": 1, "swap": 1}.get(kind, 0)
        assert damage(kind, level, WIDTHS, IDS, LENGTHS, "rg", "test", 0).level == level


def spoil(kind: str, level: float, **other: object) -> Callable[[np.random.Generator], object]:
    asked = {"modalities": WIDTHS, "ids": IDS, "lengths": LENGTHS, **other}
    return lambda g: damage(kind, level, dataset="rg", part="test", draw=0, **asked)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (lambda g: normal_noise(1, -1), "from 0 up"),
        (lambda g: channels(3, 0, 0.5, g), "from 1 up"),
        (lambda g: channels(3, 4, 1.5, g), "from 0 to 1"),
        (lambda g: channels(3, 4, float("nan"), g), "from 0 to 1"),
        (lambda g: shift(3, 1.5, g), "whole number"),
        (lambda g: shift(3, -1, g), "from 0 up"),
        (lambda g: shift(3, float("nan"), g), "whole number"),
        (lambda g: shift(3, float("inf"), g), "whole number"),
        (lambda g: freeze([3, 0], 0.5, g), "from 1 up"),
        (lambda g: freeze([2.5], 0.5, g), "whole numbers"),
        (lambda g: freeze([[2]], 0.5, g), "each sample"),
        (lambda g: freeze([3], -0.1, g), "from 0 to 1"),
        (lambda g: swap(1, g), "needs 2 samples"),
        (lambda g: changes_nothing("gaus", 0), "Did you mean 'gauss'"),
        (spoil("block", 0.5), "kind of damage"),
        (spoil("gauss", -1), "from 0 up"),
        (spoil("scale", float("inf")), "from 0 up"),
        (spoil("channels", 2), "from 0 to 1"),
        (spoil("shift", 0.5), "whole number"),
        (spoil("swap", 2), "has none"),
        (spoil("swap", 1, ids=IDS[:1], lengths=[3]), "needs 2 samples"),
        (spoil("scale", 2, lengths=LENGTHS[:-1]), "29 lengths"),
        (spoil("scale", 2, ids=[*IDS[:-1], IDS[0]]), "29 of them distinct"),
        (spoil("scale", 2, lengths=[*LENGTHS[:-1], 0]), "from 1 up"),
        (lambda g: damage_digest(drawn("shift"), IDS[:-1], LENGTHS[:-1]), "does not fit 29 ids"),
    ],
)
def test_refusals_say_what_to_write(
    request_: Callable[[np.random.Generator], object], words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        request_(rng(0))

"""Seeds, digests and shares of mask tables: fixed for ever, and tied to the sorted ids."""

from __future__ import annotations

from zlib import crc32

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aqabench.errors import UsageError
from aqabench.protocol.mask_laws import Table, keep_one, keep_one_exact
from aqabench.protocol.mask_tables import KIND_IDS, shares, table_digest, table_generator
from aqabench.protocol.time_laws import block

IDS = [f"video-{number:03d}" for number in range(40)]
LENGTHS = [1 + number % 7 for number in range(40)]


def test_kind_numbers_never_change() -> None:
    published = (
        "rate rate-exact quota imbalanced single u7 u6 size bern frame-iid rate-t block outage"
        " prefix suffix mix gauss channels shift freeze swap scale"
    )
    assert dict(KIND_IDS) == {kind: 1 + i for i, kind in enumerate(published.split())}


def test_the_generator_is_that_of_the_specification() -> None:
    words = [20260, crc32(b"fs1000"), crc32(b"test"), 1, 300, 2]
    expected = np.random.Generator(np.random.PCG64(np.random.SeedSequence(words))).random(5)
    assert (table_generator("fs1000", "test", "rate", 0.3, 2).random(5) == expected).all()


def test_every_axis_has_its_own_stream() -> None:
    streams = {
        table_generator(*axes).random()
        for axes in (
            ("rg", "test", "rate", 0.3, 0),
            ("fisv", "test", "rate", 0.3, 0),
            ("rg", "train", "rate", 0.3, 0),
            ("rg", "test", "quota", 0.3, 0),
            ("rg", "test", "rate", 0.4, 0),
            ("rg", "test", "rate", 0.3, 1),
        )
    }
    assert len(streams) == 6


def test_golden_tables() -> None:
    """Tables published with one release are redrawn by every later one, bit for bit."""
    rate = keep_one_exact(40, 3, 0.3, table_generator("rg", "test", "rate-exact", 0.3, 0))
    assert table_digest(rate, IDS) == (
        "8b39c5ae3290aab4f89d6f1b547737c461136098ab306edf73233383d8e55471"
    )
    gaps = block(LENGTHS, 3, 0.4, table_generator("rg", "test", "block", 0.4, 1))
    assert table_digest(gaps, IDS, LENGTHS) == (
        "b0285070b4bd1a4f67960d2e3e8f1dd82a15385af366ad79ff97dd47a1373ac4"
    )


@given(order=st.permutations(IDS[:12]))
@settings(max_examples=20, deadline=None)
def test_over_sorted_ids_the_order_of_the_samples_does_not_matter(order: list[str]) -> None:
    def shown(ids: list[str]) -> dict[str, tuple[bool, ...]]:
        table = keep_one(len(ids), 3, 0.3, table_generator("rg", "test", "rate", 0.3, 0))
        return dict(zip(sorted(ids), map(tuple, table), strict=True))

    assert shown(order) == shown(IDS[:12])


def test_the_digest_sees_every_bit_id_length_and_the_shape() -> None:
    table = keep_one(40, 3, 0.3, np.random.default_rng(1))
    flipped = table.copy()
    flipped[39, 2] = ~flipped[39, 2]
    whole = np.ones((40, 3), dtype=bool)
    digests = [
        table_digest(table, IDS),
        table_digest(flipped, IDS),
        table_digest(table, [*IDS[:-1], "video-900"]),
        table_digest(table, IDS, [1] * 40),
        table_digest(table, IDS[:20], [2] * 20),
        table_digest(table, IDS[:20], [1] * 10 + [3] * 10),
        table_digest(whole, IDS),
        table_digest(whole.reshape(60, 2), IDS[:30], [2] * 30),
        table_digest(whole.reshape(40, 3)[:, :2], IDS),
    ]
    assert len(set(digests)) == len(digests)
    assert all(len(digest) == 64 for digest in digests)
    assert table_digest(np.asfortranarray(table), IDS) == digests[0]  # meaning, not memory


@pytest.mark.parametrize(
    ("table", "ids", "lengths", "words"),
    [
        (np.ones((2, 3), bool), ["b", "a"], None, "sort"),
        (np.ones((2, 3), bool), ["a", "a"], None, "distinct"),
        (np.ones((3, 3), bool), ["a", "b"], None, "3 rows does not fit 2 ids"),
        (np.ones((3, 3), bool), ["a", "b"], [1, 1], "need 2"),
        (np.ones((3, 3), bool), ["a", "b"], [1, 1, 1], "does not fit"),
        (np.ones((2, 3), int), ["a", "b"], None, "True and False"),
    ],
)
def test_digest_refuses_what_names_no_table(
    table: Table, ids: list[str], lengths: list[int] | None, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        table_digest(table, ids, lengths)


def test_shares_by_hand() -> None:
    rows = np.array([[1, 1, 1], [1, 0, 0], [0, 1, 1], [0, 0, 1]], dtype=bool)
    counted = shares(rows)
    assert (counted.rows, counted.by_size) == (4, (0, 2, 1, 1))
    assert counted.realised == pytest.approx(5 / 12)
    assert counted.complete == pytest.approx(1 / 4)
    steps = np.array([[0, 0], [1, 1]], dtype=bool)
    assert shares(steps).by_size == (1, 0, 1)
    with pytest.raises(UsageError, match="no shares"):
        shares(np.ones((0, 3), dtype=bool))


def test_generator_refusals() -> None:
    with pytest.raises(UsageError, match="Did you mean 'block'"):
        table_generator("rg", "test", "blok", 0.3, 0)
    for level, draw in ((-0.1, 0), (float("nan"), 0), (0.1, -1)):
        with pytest.raises(UsageError, match="from 0 up"):
            table_generator("rg", "test", "rate", level, draw)

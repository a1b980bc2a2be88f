"""The second opinion on claims: a difference is claimed only where the swap says so too.

The jackknife decides; the studentised swap permutation, which shares none of its formulas, checks
the pairs that carry a claim.  Refuses to check what claims nothing: a pair that the first test
does not separate stays unseparated whatever a second one says.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from itertools import chain

import numpy as np

from aqabench.stats._cells import CellTable
from aqabench.stats._linear import contributions, flip_p
from aqabench.stats._permutation import swap_average
from aqabench.stats._results import Comparison, Flag
from aqabench.stats.averages import compare_average

__all__ = ["cross_check"]

WORK = 10**9
"""Exact swaps are made while cells x permutations x videos squared stay below; 1 to 2 s."""


def cross_check(
    tables: Mapping[str, CellTable],
    pairs: Collection[tuple[str, str]],
    *,
    n_resamples: int = 999,
    work: float = WORK,
    rng: np.random.Generator | None = None,
) -> dict[tuple[str, str], Comparison]:
    """Compare pairs by the swap permutation: exactly while that is cheap, then in linear form.

    Exact swaps rank again in every permutation (``method`` is ``"swap"``).  The others flip the
    signs of what each video contributes, 10 times as often and all pairs in one product
    (``"swap-linear"``).  With few videos the two can differ where p is near the level, so give the
    weakest claims first; a pair whose p is a tenth of the level passes either.

    Args:
        tables: prepared cells by name, all on the same tests.
        pairs: what to check, weakest claim first.
        n_resamples: permutations of an exact swap.
        work: limit of cells x permutations x videos squared of all exact swaps together.
        rng: generator; a fixed one (seed 0) by default.

    Returns:
        Pair -> comparison of these networks on new videos, with the p value of the swap.

    Raises:
        DataError: the methods were not tested on the same videos.
    """
    generator = rng or np.random.default_rng(0)
    found = {(a, b): compare_average(tables[a], tables[b]) for a, b in pairs}
    linear: list[tuple[str, str]] = []
    for pair, base in found.items():
        a, b = (tables[name] for name in pair)
        if np.isnan(base.se_z):  # identical or undefined: there is nothing to permute
            continue
        rounds = np.lcm(len(a.seeds), len(b.seeds))
        cost = n_resamples * rounds * sum(test.y.size**2 for test in a.tests)
        if cost <= work and not linear:
            work -= cost
            found[pair] = swap_average(a, b, base, n_resamples, generator)
        else:
            linear.append(pair)
    if linear:
        own = {name: contributions(tables[name]) for name in dict.fromkeys(chain(*linear))}
        values = np.stack([own[a] - own[b] for a, b in linear], axis=1)  # (n, pairs)
        p, count, exact = flip_p(values, 10 * n_resamples, generator)
        for pair, one in zip(linear, p, strict=True):
            base = found[pair]
            flags = (*base.flags, Flag.EXACT) if exact else base.flags
            found[pair] = replace(
                base, method="swap-linear", p_value=float(one), n_resamples=count, flags=flags
            )
    return found

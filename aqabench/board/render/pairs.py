"""Differences between methods as small tables and sentences, for a terminal and for Markdown."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from aqabench.board.pairs import Pair, about
from aqabench.board.render.sheet import Sheet, markdown, print_sheet
from aqabench.board.render.text import DASH, breakable, heading, signed
from aqabench.board.table import Leaderboard

if TYPE_CHECKING:
    from rich.console import Console

FEW = 45
"""Up to so many pairs a terminal shows all, as of ten methods; of more only the best ones."""
QUOTED = 10
"""Up to so many sentences."""
MANY = 1_000_000
"""More videos than anybody will judge."""


def print_pairs(
    board: Leaderboard, pairs: Sequence[Pair], console: Console, columns: Sequence[str] = ()
) -> None:
    """Print differences with interval and p values, what they would need, and the verdicts.

    Args:
        board: where they are from.
        pairs: from :func:`aqabench.board.pairs.compare_all`, best methods first.
        console: at least 80 columns wide.
        columns: the columns that were compared; none for the board's average.
    """
    from rich.text import Text

    console.print()
    console.print(Text(heading(board), style="bold"))
    shown = list(pairs)
    if len(pairs) > FEW:
        best = pairs[0].better
        shown = [p for p in pairs if best in (p.better, p.worse)]
    for sheet in pair_sheets(board, shown, columns):
        print_sheet(sheet, console)
    if len(shown) < len(pairs):
        note = f"{len(pairs) - len(shown)} more pairs: --format markdown, or name METHODS."
        console.print(Text(note, style="dim"))
    console.print()
    for sentence in sentences(shown):
        console.print(Text(f"  {sentence}", style="dim"))


def pairs_markdown(board: Leaderboard, pairs: Sequence[Pair], columns: Sequence[str] = ()) -> str:
    """Return all of it as a part of a Markdown document."""
    parts = [markdown(sheet) for sheet in pair_sheets(board, pairs, columns)]
    quoted = "\n".join(f"- {sentence}" for sentence in sentences(pairs))
    return "\n\n".join(["## Differences", *parts, quoted]) + "\n"


def sentences(pairs: Sequence[Pair]) -> list[str]:
    """Return what may be quoted: of the first pairs, then of methods that cannot be compared."""
    known = [pair.sentence for pair in pairs if math.isfinite(pair.result.p_value)]
    return [*known[:QUOTED], *_not_compared(pairs)]


def pair_sheets(
    board: Leaderboard, pairs: Sequence[Pair], columns: Sequence[str] = ()
) -> list[Sheet]:
    """Return the differences, then what they would need, without pairs that have no p."""
    known = [pair for pair in pairs if math.isfinite(pair.result.p_value)]
    if not known:
        return []
    what = ", ".join(columns) or board.asked.protocol.average.name
    return [_differences(what, known), _needs(known)]


def _differences(what: str, pairs: Sequence[Pair]) -> Sheet:
    adjusted = any(pair.adjusted_by for pair in pairs)
    rows = [
        (
            _names(pair),
            signed(pair.result.difference),
            _limits(pair),
            _p(pair.result.p_value),
            *([_p(pair.adjusted)] if adjusted else []),
            _p(pair.check.p_value if pair.check else math.nan) + _mark(pair),
            "yes" if pair.separated else "no",
        )
        for pair in pairs
    ]
    heads = ["difference", "95 % interval", "p"]
    heads += ["adj., p"] * adjusted + ["swap, p", "told, apart"]
    notes = ["p: jackknife over test videos" + _adjustment(pairs, adjusted) + "."]
    if any(pair.check for pair in pairs):
        notes.append(
            "swap: the permutation that exchanges two methods on whole videos, of what the "
            "jackknife separates; told apart: both say so."
        )
    if any(_mark(pair) for pair in pairs):
        notes.append("~: the swap in its linear form, without ranking again.")
    title = f"Differences in {what} on the same test videos"
    return Sheet(title, ("better > worse",), tuple(heads), rows, tuple(notes))


def _names(pair: Pair) -> str:
    return f"{breakable(pair.better)} > {breakable(pair.worse)}"


def _adjustment(pairs: Sequence[Pair], adjusted: bool) -> str:
    if not adjusted:
        return ""
    kind = "max-T" if any(pair.adjusted_by == "max-t" for pair in pairs) else "Holm"
    return f"; adj.: adjusted over all pairs by {kind}"


def _needs(pairs: Sequence[Pair]) -> Sheet:
    margin = next((pair.as_good.margin for pair in pairs if pair.as_good), None)
    rows = [
        (
            _names(pair),
            _decimals(pair.result.detectable),
            _count(pair.needed),
            *_loss(pair),
            *([] if margin is None else [_as_good(pair)]),
        )
        for pair in pairs
    ]
    heads = ["found at, 80 %", "videos, needed", "MSE, difference", "MSE, p"]
    notes = [
        "found at: the true difference that these videos would show with 80 % probability; "
        "needed: videos that would show the measured one, were it true.",
        "MSE: of better minus worse in squared judge points, negative where better errs less; p by "
        "sign flips of a pair that stands alone.",
    ]
    if margin is not None:
        heads.append(f"as good, within {margin:g}")
        notes.append(
            f"as good: is the worse one less than {margin:g} worse, at 5 %? "
            "This margin must have been chosen before looking."
        )
    return Sheet(
        "What they would need, and errors", ("better > worse",), tuple(heads), rows, tuple(notes)
    )


def _as_good(pair: Pair) -> str:
    found = pair.as_good
    if found is None or math.isnan(found.p_value):
        return DASH
    return f"{'yes' if found.shown else 'no'} {_p(found.p_value)}"


def _loss(pair: Pair) -> tuple[str, str]:
    if pair.loss is None or math.isnan(pair.loss.p_value):
        return DASH, DASH
    return f"{pair.loss.difference:+.3g}", _p(pair.loss.p_value)


def _limits(pair: Pair) -> str:
    r = pair.result
    return f"[{r.low:+.3f}, {r.high:+.3f}]" if math.isfinite(r.low) else DASH


def _mark(pair: Pair) -> str:
    return "~" if pair.check and pair.check.method == "swap-linear" else ""


def _decimals(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else DASH


def _count(videos: float) -> str:
    if not math.isfinite(videos):
        return DASH
    return about(videos) if videos < MANY else f"> {MANY:,}"


def _p(value: float) -> str:
    if not math.isfinite(value):
        return DASH
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _not_compared(pairs: Sequence[Pair]) -> list[str]:
    """Say which methods cannot be compared: with all others in one sentence, else pair by pair."""
    undefined = [pair for pair in pairs if not math.isfinite(pair.result.p_value)]
    counts = Counter(name for pair in pairs for name in (pair.better, pair.worse))
    failing = Counter(name for pair in undefined for name in (pair.better, pair.worse))
    # a method none of whose pairs has a p is to blame for them, unless it is the only other one
    alone = [name for name in counts if failing[name] == counts[name] > 1]
    found = []
    if alone:
        found.append(f"Not compared, because their average is undefined: {', '.join(alone)}.")
    rest = [p for p in undefined if p.better not in alone and p.worse not in alone]
    return found + [pair.sentence for pair in rest]

"""The table of the validity study, and the page and the picture that say what is in it.

Nothing here simulates: the page and the picture follow from the rows alone, word for word.
"""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy import stats as sps

from aqabench.disk import replace_file
from aqabench.figure import BLUE, GREEN, ORANGE, set_title, settle, write_figure

HERE = Path(__file__).parent
PARTS = ("paired", "gaps", "seeds", "averages", "families", "losses")
COLUMNS = (
    "part", "design", "n", "quantity", "method", "nominal", "hits", "draws", "rate", "se", "rho",
    "r",
)  # fmt: skip
OURS = ("jackknife", "swap", "jackknife and swap", "bootstrap")
TEXTBOOK = ("williams", "steiger", "dunn-clark", "meng", "zou", "zou-bw")
LIBERAL = TEXTBOOK[:-1]
LOSSES = ("sign-flip", "sign-flip and log ratio", "t", "wilcoxon")
TITLES = {
    **{
        name: name.title() for name in (*TEXTBOOK, "bonett-wright", "fieller", "fisher", "wilcoxon")
    },
    "zou-bw": "Zou (B-W)",
}
MOST = 20
"""Right end of the picture's axis, in per cent."""
COLOURS = {50: BLUE, 100: ORANGE, 250: GREEN}


@dataclass(frozen=True)
class Row:
    """One rate.

    Attributes:
        part: one of :data:`PARTS`.
        design: what was simulated.
        n: test videos, of each class where these have their own.
        quantity: what was counted, e.g. ``"false alarms"``.
        method: the test or interval.
        nominal: what the rate should be.
        hits: draws in which it happened.
        draws: draws.
        rho: true correlation of each method with the labels.
        r: that between the methods' predictions, NaN where it was not set.
    """

    part: str
    design: str
    n: int
    quantity: str
    method: str
    nominal: float
    hits: int
    draws: int
    rho: float
    r: float

    @property
    def rate(self) -> float:
        """Share of draws in which it happened."""
        return self.hits / self.draws

    @property
    def se(self) -> float:
        """Monte-Carlo standard error; one draw of each kind is added, so that it is never 0."""
        p = (self.hits + 1) / (self.draws + 2)
        return math.sqrt(p * (1 - p) / self.draws)

    @property
    def interval(self) -> tuple[float, float]:
        """95 % Monte-Carlo interval of the rate (Wilson)."""
        found = sps.binomtest(self.hits, self.draws).proportion_ci(method="wilson")
        return float(found.low), float(found.high)


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Write the table as CSV."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for row in rows:
        numbers = (f"{row.rate:.5f}", f"{row.se:.5f}", f"{row.rho:.4f}", f"{row.r:.4f}")
        names = (row.part, row.design, row.n, row.quantity, row.method, f"{row.nominal:.4f}")
        table.writerow([*names, row.hits, row.draws, *numbers])
    replace_file(path, text.getvalue().encode())


def read_rows(path: Path) -> list[Row]:
    """Read the table back; rates follow from the counts."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Row(
                part=line["part"], design=line["design"], n=int(line["n"]),
                quantity=line["quantity"], method=line["method"], nominal=float(line["nominal"]),
                hits=int(line["hits"]), draws=int(line["draws"]), rho=float(line["rho"]),
                r=float(line["r"]),
            )
            for line in csv.DictReader(file)
        ]  # fmt: skip


def write_all(rows: Sequence[Row], path: Path) -> None:
    """Write the table, and the page and the picture beside it, which follow from the file."""
    write_rows(rows, path)
    kept = read_rows(path)
    replace_file(path.with_suffix(".md"), page(kept).encode())
    write_figure(draw(kept), path.with_suffix(".svg"))


def pick(
    rows: Sequence[Row], part: str, quantity: str, *methods: str, design: str = ""
) -> list[Row]:
    """Return the rows of a part and quantity; of some methods or designs only, if named."""
    return [
        row
        for row in rows
        if (row.part, row.quantity) == (part, quantity)
        and (not methods or row.method in methods)
        and row.design.startswith(design)
    ]


def span(rows: Sequence[Row]) -> str:
    """Write the smallest and the largest rate."""
    rates = [100 * row.rate for row in rows]
    low, high = min(rates), max(rates)
    return f"{low:.1f} %" if f"{low:.1f}" == f"{high:.1f}" else f"{low:.1f} to {high:.1f} %"


def pooled(rows: Sequence[Row]) -> str:
    """Write the rate over all draws of some rows, with its standard error."""
    hits, draws = (sum(getattr(row, name) for row in rows) for name in ("hits", "draws"))
    se = math.sqrt((hits + 1) * (draws - hits + 1) / draws) / (draws + 2)
    return f"{100 * hits / draws:.1f} ± {100 * se:.1f} %"


def table(rows: Sequence[Row], expected: bool = False) -> str:
    """Write rows as a Markdown table: a line per design and n, a column per method."""
    methods = list(dict.fromkeys(row.method for row in rows))
    methods.sort(key=lambda m: OURS.index(m) if m in OURS else len(OURS))
    cells = {(row.design, row.n, row.method): row for row in rows}
    titles = [TITLES.get(m, m) for m in methods]
    head = ["design", "videos", *(["expected"] if expected else []), *titles]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for design, n in dict.fromkeys((row.design, row.n) for row in rows):
        found = [cells.get((design, n, m)) for m in methods]
        known = next(row for row in found if row)
        line = [design, str(n), *([f"{100 * known.nominal:.1f}"] if expected else [])]
        line += [f"{100 * r.rate:.1f} ± {100 * r.se:.1f}" if r else "–" for r in found]
        lines.append("| " + " | ".join(line) + " |")
    return "\n".join(lines)


def draws_of(rows: Sequence[Row]) -> str:
    """Write how many draws are behind each rate."""
    counts = sorted({row.draws for row in rows})
    return " or ".join(str(count) for count in counts)


def command(part: str) -> str:
    """Write the command that gives the numbers of a part."""
    return f"`python docs/studies/validity.py --only {part} --out {part}.csv`"


def draw(rows: Sequence[Row]) -> Figure:
    """Draw how often every test rejects a true null hypothesis, a panel for each design."""
    found = pick(rows, "paired", "false alarms")
    designs = list(dict.fromkeys(row.design for row in found))
    figure = Figure(figsize=(12, 8.4), layout="constrained")
    panels = figure.subplots(2, -(-len(designs) // 2), sharex=True, sharey=True, squeeze=False)
    for axes, design in zip(panels.flat, designs, strict=False):
        draw_panel(axes, [row for row in found if row.design == design], design)
    for axes in panels[-1]:
        axes.set_xlabel("rejects, % of true null hypotheses")
    panels[0, 0].legend(frameon=False, fontsize=9, title="test videos", loc="upper right")
    set_title(figure, "False alarms at 5 %, two equally good methods", simulated=True)
    settle(figure)
    return figure


def draw_panel(axes: Axes, rows: Sequence[Row], title: str) -> None:
    """Draw the rates of one design: a line for each method, a dot for each size."""
    methods = [*OURS, *TEXTBOOK]
    for shift, (n, colour) in zip((-0.24, 0.0, 0.24), COLOURS.items(), strict=True):
        own = [row for row in rows if row.n == n]
        at = [methods.index(row.method) + shift for row in own]
        rates = [100 * row.rate for row in own]
        axes.hlines(
            at,
            [100 * row.interval[0] for row in own],
            [100 * row.interval[1] for row in own],
            colors=colour,
            lw=1.4,
        )
        axes.plot(rates, at, "o", color=colour, ms=4.5, label=str(n))
    axes.axvline(5, color="0.35", lw=0.9, ls="--")
    axes.axhspan(len(OURS) - 0.5, len(methods) - 0.5, color="0.94", zorder=0)
    names = [TITLES.get(m, m) for m in methods]
    axes.set(title=title, xlim=(0, MOST), ylim=(len(methods) - 0.5, -0.5))
    axes.set_yticks(range(len(methods)), names)


def page(rows: Sequence[Row]) -> str:
    """Write the page."""
    parts = (_head, _paired, _coverage, _gaps, _seeds, _averages, _rest)
    return "\n\n".join(_fill(part(rows)) for part in parts) + "\n"


def _fill(text: str) -> str:
    """Wrap paragraphs and lists at 120 characters; leave tables, pictures and titles."""
    blocks = []
    for block in text.split("\n\n"):
        if block.startswith("- "):
            items = block[2:].split("\n- ")
            blocks.append("\n".join(_wrap(item, "- ", "  ") for item in items))
        else:
            blocks.append(block if block[0] in "|#!" else _wrap(block))
    return "\n\n".join(blocks)


def _wrap(text: str, first: str = "", later: str = "") -> str:
    joined = " ".join(text.split()).replace(" %", "\0%")  # a number keeps its unit
    return textwrap.fill(
        joined,
        120,
        initial_indent=first,
        subsequent_indent=later,
        break_long_words=False,
        break_on_hyphens=False,
    ).replace("\0", " ")


def _head(rows: Sequence[Row]) -> str:
    def alarms(*methods: str, design: str = "") -> str:
        return span(pick(rows, "paired", "false alarms", *methods, design=design))

    def all_in_all(method: str) -> str:
        return pooled(pick(rows, "paired", "false alarms", method))

    welch = pick(rows, "seeds", "false alarms", "t-test over seeds")
    welch = sorted((r for r in welch if r.n == 100), key=lambda r: int(r.design.split()[0]))
    runs = pick(rows, "seeds", "false alarms", "compare_runs")
    each = [f"{name} {alarms(name.lower())}" for name in ("Williams", "Steiger", "Meng", "Zou")]
    return f"""# Do the tests keep their word?

A test at 5 % should cry wolf in 5 % of the cases in which there is nothing, and a 95 % interval
should contain the truth in 95 %. Here the functions of `aqabench.stats` are tried on simulated test
lists of 50, 100 and 250 videos of which the truth is known. **Simulated data**: copulas and made-up
recipes, no real performance and no trained network.

`OMP_NUM_THREADS=1 python docs/studies/validity.py` makes [validity.csv](validity.csv), this page
and its picture again, to the digit, in five to six minutes of one core. The command below each
table makes the numbers of that table alone. ± is the Monte-Carlo standard error of a number; take
two rates as different from some three of these on. A small version with bounds is in the slow tests
(`pytest tests/stats/test_stats_validity.py -m slow`), so that a change that breaks a default is
seen.

In short:

- **The default, the jackknife on Fisher's z, gives {alarms("jackknife")} false alarms** in the
  cells below, {all_in_all("jackknife")} in all; the swap {all_in_all("swap")} in all; the rule for
  claims, both below 5 %, {all_in_all("jackknife and swap")}.
- **The textbook tests of dependent correlations are too liberal on ranks**:
  {", ".join(each)}, Dunn-Clark {alarms("dunn-clark")}. These five give
  {alarms(*LIBERAL, design="gaussian")} on Gaussian data; {alarms(*LIBERAL, design="t4")} where the
  same videos are hard for both methods; {alarms(*LIBERAL, design="weak")} where weak performances
  are harder to judge; {alarms(*LIBERAL, design="each")} where each method has its own hard ones.
  They put ranks into a theory of Pearson's r, whose variance is too small, so that more videos
  don't help. With the variance of Bonett and Wright (`zou-bw`) it is
  {alarms("zou-bw", design="gaussian")} on Gaussian data, {alarms("zou-bw", design="t4")} and
  {alarms("zou-bw", design="each")} on the harsher ones.
- **A t-test over seeds gets worse with more seeds**: on 100 videos
  {", ".join(f"{100 * r.rate:.0f} % false alarms with {r.design}" for r in welch)}. It proves ever
  more surely which recipe one test list prefers. `compare_runs` gives {span(runs)}."""


def _paired(rows: Sequence[Row]) -> str:
    alarms = pick(rows, "paired", "false alarms")
    true = {row.design: f"{row.design}: {row.rho:.3f} and {row.r:.3f}" for row in alarms}
    return f"""## Two equally good methods: false alarms, %

![False alarms of every test, by design and number of videos](validity.svg)

{table(alarms)}

{command("paired")}; {draws_of(alarms)} test lists a cell, the smaller number for swap and
bootstrap.

*Gaussian*: a Gaussian copula. *Ties*: its labels on some 15 levels, coarser than any judge's. *t4*:
a t copula; a video that is hard is hard for both. *Weak ones harder*: errors are up to three times
as large on weak performances, for both. *Each its own hard ones*: A errs so on weak performances
and B on strong ones; equally good, but not exchangeable, so that no permutation test is exact by
construction. True correlations, with the labels and with each other: {"; ".join(true.values())}."""


def _coverage(rows: Sequence[Row]) -> str:
    found = pick(rows, "paired", "coverage")
    order = ["jackknife", "bootstrap", "bonett-wright", "fieller", "fisher"]
    designs = list(dict.fromkeys(row.design for row in found))
    found.sort(key=lambda row: (designs.index(row.design), row.n, order.index(row.method)))
    spans = {m: span([row for row in found if row.method == m]) for m in order}
    return f"""## One correlation: coverage of 95 % intervals, %

{table(found)}

{command("paired")}; {draws_of(found)} test lists a cell, the smaller number for the bootstrap.

The jackknife covers the truth in {spans["jackknife"]}, Bonett and Wright's interval in
{spans["bonett-wright"]}, Fisher's in {spans["fisher"]}."""


def _gaps(rows: Sequence[Row]) -> str:
    found, good = pick(rows, "gaps", "power"), pick(rows, "gaps", "as good as")
    ours = [row for row in found if row.method == "jackknife"]
    short = ", ".join(f"{100 * (r.nominal - r.rate):.1f} at {r.n} videos" for r in ours)
    shown = [row for row in good if row.method == "non_inferiority"]
    return f"""## Power, %

One method is better by 0.06. *Expected* is `power(n, 0.8, 0.9, 0.06)`, the formula behind `aqabench
power`, which is right for large test lists. Points by which the default finds less: {short}. So
what `aqabench power` says of 50 or 100 videos is on the optimistic side. What the textbook tests
find more, they also find where there is nothing.

{table(found, expected=True)}

{command("gaps")}; {draws_of(found)} test lists a cell, the smaller number for swap and bootstrap.

## "As good as" where it is not true, %

The same pairs: the worse method is worse by exactly the margin of 0.06, so that `non_inferiority`
should say "as good as" in 5 %; in all it does in {pooled(shown)}.
`tost` must also show that the method isn't better.

{table(good)}

{command("gaps")}; {draws_of(good)} test lists a cell."""


def _seeds(rows: Sequence[Row]) -> str:
    alarms, coverage = (pick(rows, "seeds", q) for q in ("false alarms", "coverage"))
    usual = span([r for r in coverage if r.method.startswith("mean over")])
    return f"""## Recipes trained several times: false alarms, %

Two equally good recipes, each trained 3 to 10 times, on new test videos in every draw.
`compare_average` takes the trained networks as they are and leaves out the luck of training;
`compare_runs` has both.

{table(alarms)}

{command("seeds")}; {draws_of(alarms)} test lists a cell.

Coverage of 95 % intervals of what the recipe reaches on new videos, %. The usual error bar of
papers, mean ± t SD/√S over seeds, covers it in {usual}: it is about one test list.

{table(coverage)}

{command("seeds")}; {draws_of(coverage)} test lists a cell."""


def _averages(rows: Sequence[Row]) -> str:
    alarms, coverage = (pick(rows, "averages", q) for q in ("false alarms", "coverage"))
    apart = pick(rows, "averages", "false alarms", "classes as if independent")
    return f"""## Means over classes: false alarms, %

The four apparatus of RG are different videos; the scores of Fis-V and of FS1000 are read off the
same ones, and the errors of a method are alike on all of them. As if they were independent:
{span(apart)}. A t-test over classes counts copies as replicates.

{table(alarms)}

{command("averages")}; {draws_of(alarms)} test lists a cell.

Coverage of 95 % intervals, %:

{table(coverage)}

{command("averages")}; {draws_of(coverage)} test lists a cell."""


def _rest(rows: Sequence[Row]) -> str:
    family, loss = pick(rows, "families", "any false alarm"), pick(rows, "losses", "false alarms")
    skew = {m: span(pick(rows, "losses", "false alarms", m, design="skew")) for m in LOSSES}
    return f"""## All pairs of a board: any false alarm, %

{table(family)}

{command("families")}; {draws_of(family)} test lists a cell.

## Squared errors: false alarms, %

Equal mean squared error. *Heavy*: t errors with 5 degrees of freedom. *Skew*: one method errs
little, but for one video in ten. There Wilcoxon's test, which is about the typical error and not
about the mean, rejects in {skew["wilcoxon"]}, and even sign flips in {skew["sign-flip"]}; with the
log ratio besides, in {skew["sign-flip and log ratio"]}. Before a claim about MSE look at that and
at the worst videos too.

{table(loss)}

{command("losses")}; {draws_of(loss)} test lists a cell.

## What this does not show

Copulas and made-up recipes aren't networks; the overlap of predictions and the spread of seeds are
assumed. Below 50 videos nothing was tried."""

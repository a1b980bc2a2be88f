"""Is a difference real?  Metrics, intervals and tests for 50 to 250 test videos.

Numpy and scipy only, no torch, nothing else of aqabench but its errors.  The default test and
interval are jackknife-Wald on Fisher z with a video as the unit; the studentised swap
permutation is the cross-check.  Every result is a frozen object whose ``str()`` can be quoted,
and an undefined case is a named outcome, never a zero.
"""

from aqabench.stats._bootstrap import bootstrap_z
from aqabench.stats._cells import Cell, CellTable, prepare, select_tests
from aqabench.stats._kernel import bootstrap_rho, draw_counts, jackknife_rho, jackknife_z
from aqabench.stats._results import (
    Comparison,
    Flag,
    Interval,
    LossComparison,
    MetricValue,
    Reason,
    Status,
)
from aqabench.stats.averages import average_ci, compare_average, compare_choices, compare_runs
from aqabench.stats.crosscheck import cross_check
from aqabench.stats.equivalence import Equivalence, non_inferiority, tost
from aqabench.stats.intervals import correlation_ci, spearman_ci
from aqabench.stats.losses import compare_mean_loss, compare_mean_losses
from aqabench.stats.metrics import fisher_mean, kendall, mse, normalised_mse, relative_l2, spearman
from aqabench.stats.multiplicity import MaxT, PairTable, adjust, compare_all, draw_videos, max_t
from aqabench.stats.paired import compare_correlations, compare_spearman
from aqabench.stats.power import detectable_difference, difference_sd, needed_n, power, required_n
from aqabench.stats.published import Separability, separable
from aqabench.stats.ranking import FriedmanNemenyi, TieGroups, friedman_nemenyi, tie_groups
from aqabench.stats.robustness import (
    Equity,
    Retention,
    RobustnessReason,
    RobustnessSummary,
    Subset,
    Violations,
    WorstSubset,
    area_under_curve,
    drop,
    equity_index,
    learning_index,
    mean_by_size,
    monotonicity_violations,
    retention,
    shapley,
    specialist_retention,
    summarise_subsets,
    worst_subset,
)

__all__ = [
    "Cell",
    "CellTable",
    "Comparison",
    "Equity",
    "Equivalence",
    "Flag",
    "FriedmanNemenyi",
    "Interval",
    "LossComparison",
    "MaxT",
    "MetricValue",
    "PairTable",
    "Reason",
    "Retention",
    "RobustnessReason",
    "RobustnessSummary",
    "Separability",
    "Status",
    "Subset",
    "TieGroups",
    "Violations",
    "WorstSubset",
    "adjust",
    "area_under_curve",
    "average_ci",
    "bootstrap_rho",
    "bootstrap_z",
    "compare_all",
    "compare_average",
    "compare_choices",
    "compare_correlations",
    "compare_mean_loss",
    "compare_mean_losses",
    "compare_runs",
    "compare_spearman",
    "correlation_ci",
    "cross_check",
    "detectable_difference",
    "difference_sd",
    "draw_counts",
    "draw_videos",
    "drop",
    "equity_index",
    "fisher_mean",
    "friedman_nemenyi",
    "jackknife_rho",
    "jackknife_z",
    "kendall",
    "learning_index",
    "max_t",
    "mean_by_size",
    "monotonicity_violations",
    "mse",
    "needed_n",
    "non_inferiority",
    "normalised_mse",
    "power",
    "prepare",
    "relative_l2",
    "required_n",
    "retention",
    "select_tests",
    "separable",
    "shapley",
    "spearman",
    "spearman_ci",
    "specialist_retention",
    "summarise_subsets",
    "tie_groups",
    "tost",
    "worst_subset",
]

"""Boards as tables and documents for programs: CSV with a line per number, and JSON.

Every measured number has its interval where there is one, its tie group, its seeds and the keys of
the runs it is made of.  Published claims are lines of another kind.  What is undefined is empty in
CSV and null in JSON, never zero.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from aqabench.board.published.schema import AVERAGE
from aqabench.board.render.notes import footnotes
from aqabench.board.render.text import heading
from aqabench.board.report import Report, View
from aqabench.board.table import Row
from aqabench.stats import Interval

COLUMNS = (
    "protocol", "protocol_version", "protocol_digest", "data_kind", "data_digest", "budget", "rule",
    "kind", "method", "class", "column", "metric", "value", "low", "high", "level", "videos",
    "tie_group", "top_group", "seeds", "runs", "source", "note",
)  # fmt: skip


def boards_csv(reports: Sequence[Report]) -> str:
    """Return every number of the boards, a line each."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n", restval="")
    writer.writeheader()
    for report in reports:
        writer.writerows({**_condition(report), **line} for line in _lines(report))
    return out.getvalue()


def boards_json(reports: Sequence[Report]) -> str:
    """Return the boards as a JSON document with the list ``boards``."""
    document = {"boards": [_document(report) for report in reports]}
    return json.dumps(document, ensure_ascii=False, indent=1, allow_nan=False) + "\n"


def _condition(report: Report) -> dict[str, Any]:
    condition = report.board.condition
    return {
        "protocol": condition.protocol,
        "protocol_version": report.board.asked.protocol.version,
        "protocol_digest": condition.protocol_digest,
        "data_kind": condition.data_kind,
        "data_digest": condition.data_digest,
        "budget": condition.budget,
        "rule": report.board.rule,
    }


def _lines(report: Report) -> Iterator[dict[str, Any]]:
    for view in report.views:
        for row in view.board.rows:
            own = {
                "kind": "measured",
                "method": row.name,
                "class": view.name,
                "seeds": " ".join(map(str, row.seeds)),
                "runs": " ".join(report.keys(view, row.name)),
            }
            for line in _numbers(view, row):
                yield {**own, **line}
    for claim in report.claims:
        for (class_name, column), one in sorted(claim.numbers.items()):
            yield {
                "kind": "published",
                "method": claim.method,
                "class": class_name,
                "column": column,
                "metric": one.metric,
                "value": _number(one.value),
                "source": f"{one.source.title}, {one.place}".rstrip(", "),
                "note": one.conflict,
            }


def _numbers(view: View, row: Row) -> Iterator[dict[str, Any]]:
    average = view.board.asked.protocol.average.name
    if row.overall is None:
        yield {"column": average, "metric": "srcc", "note": "; ".join((*row.notes, *row.failed))}
        return
    scores = row.overall
    tied = {
        "tie_group": view.letters.get(row.name, ""),
        "top_group": "yes" if row.name in view.top else "no",
    }
    yield {"column": average, "metric": "srcc", **_interval(scores.average), **tied}
    for rule, value in row.rules.items():
        yield {"column": average, "metric": f"srcc_{rule}", "value": _number(value)}
    yield {"column": average, "metric": "optimism_gap", "value": _number(row.gap), **_gap(row)}
    yield {"column": average, "metric": "mse", "value": _number(scores.average_mse)}
    yield {"column": average, "metric": "rl2", "value": _number(scores.others.relative_l2)}
    for column in view.board.columns:
        found = view.columns.get((row.name, column))
        if found is not None:
            yield {"column": column, "metric": "srcc", **_interval(found)}
        yield {"column": column, "metric": "mse", "value": _number(scores.mse[column])}


def _gap(row: Row) -> dict[str, Any]:
    """Return the limits of the optimism gap, where it has any."""
    found = row.optimism
    if found is None or not math.isfinite(found.low):
        return {}
    low, high = _number(found.low), _number(found.high)
    return {"low": low, "high": high, "level": found.level, "videos": found.n}


def _interval(interval: Interval) -> dict[str, Any]:
    return {
        "value": _number(interval.estimate),
        "low": _number(interval.low),
        "high": _number(interval.high),
        "level": interval.level if math.isfinite(interval.low) else "",
        "videos": interval.n,
        "note": "" if math.isfinite(interval.low) else str(interval.reason).replace("_", " "),
    }


def _number(value: float) -> str:
    """Return nine digits, as predictions are stored; further ones differ between machines."""
    return f"{value:.9g}" if math.isfinite(value) else ""


def _document(report: Report) -> dict[str, Any]:
    board = report.board
    return {
        "title": heading(board),
        "simulated": board.simulated,
        **_condition(report),
        "average": {"name": board.asked.protocol.average.name, "over": list(board.averaged)},
        "classes": list(board.classes),
        "columns": list(board.columns),
        "views": [_view(report, view) for view in report.views],
        "published": [
            {
                "method": claim.method,
                "year": claim.year,
                "measured_as": list(claim.measured),
                "numbers": [
                    {
                        "class": class_name,
                        "column": column,
                        "metric": one.metric,
                        "value": one.value,
                        "source": one.source.title,
                        "place": one.place,
                        "conflict": one.conflict,
                    }
                    for (class_name, column), one in sorted(claim.numbers.items())
                ],
            }
            for claim in report.claims
        ],
        "runs": {
            record.key: {
                "method": row,
                "class": record.class_name,
                "seed": record.seed,
                "fold": record.fold,
                "status": record.status,
                "error": record.error,
                "epochs": dict(record.selected_epochs),
                "record": report.files[record.key].relative_to(report.source.root).as_posix(),
            }
            for row, records in report.runs.items()
            for record in records
        },
        "notes": footnotes(board),
    }


def _view(report: Report, view: View) -> dict[str, Any]:
    return {
        "class": None if view.name == AVERAGE else view.name,
        "tie_groups": [list(group) for group in view.ties.groups] if view.ties else [],
        "top_group": list(view.top),
        "rows": [_row(report, view, row) for row in view.board.rows],
        "pairs": [
            {
                "better": pair.better,
                "worse": pair.worse,
                "difference": _value(pair.result.difference),
                "low": _value(pair.result.low),
                "high": _value(pair.result.high),
                "level": pair.result.level,
                "p": _value(pair.result.p_value),
                "adjusted_p": _value(pair.adjusted),
                "adjusted_by": pair.adjusted_by,
                "swap_p": _value(pair.check.p_value) if pair.check else None,
                "separated": pair.separated,
                "detectable": _value(pair.result.detectable),
                "sentence": pair.sentence,
            }
            for pair in view.pairs
        ],
    }


def _row(report: Report, view: View, row: Row) -> dict[str, Any]:
    scores = row.overall
    return {
        "method": row.name,
        "tie_group": view.letters.get(row.name),
        "score": None if scores is None else _measured(scores.average),
        "rules": {rule: _value(value) for rule, value in row.rules.items()},
        "optimism_gap": {
            "value": _value(row.gap),
            "low": _value(row.optimism.low) if row.optimism else None,
            "high": _value(row.optimism.high) if row.optimism else None,
        },
        "mse": None if scores is None else _value(scores.average_mse),
        "relative_l2": None if scores is None else _value(scores.others.relative_l2),
        "columns": {
            column: {**_measured(found), "mse": _value(scores.mse[column])}
            for column in view.board.columns
            if scores and (found := view.columns.get((row.name, column)))
        },
        "seeds": list(row.seeds),
        "costs": _known(row.costs),
        "runs": report.keys(view, row.name),
        "failed": list(row.failed),
        "notes": list(row.notes),
    }


def _measured(interval: Interval) -> dict[str, Any]:
    return {
        "value": _value(interval.estimate),
        "low": _value(interval.low),
        "high": _value(interval.high),
        "level": interval.level,
        "videos": interval.n,
        "seed_sd": _value(interval.seed_sd),
        "undefined": str(interval.reason).replace("_", " ") or None,
    }


def _known(costs: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.9g}") for name, value in costs.items() if math.isfinite(value)}


def _value(value: float) -> float | None:
    return float(f"{value:.9g}") if math.isfinite(value) else None

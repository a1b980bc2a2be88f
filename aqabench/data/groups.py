"""Labels of who performs (athlete, event, speaker), from a CSV beside the release.

The published releases do not say who performs; splits that keep athletes apart, and the baseline
that shows how much identity gives away, need it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from aqabench.data.readers.faults import Faults
from aqabench.errors import DataError, UsageError
from aqabench.protocol.schema import DatasetSpec


def read_groups(
    path: Path,
    spec: DatasetSpec,
    ids: Sequence[str],
    columns: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, dict[str, str]]:
    """Read group labels for every sample.

    Args:
        path: CSV with a row per sample: ``sample_id`` and a column per kind of group.
        spec: the data set; its ``groups`` are the kinds that are looked for.
        ids: samples that need a label; others in the file are ignored.
        columns: kind -> columns of the file that make its label together.  By default a column
            is found that is called as the kind, ``KIND_group`` or ``group.KIND``, and, for the
            first kind, ``group``.

    Returns:
        kind -> sample id -> label.

    Raises:
        DataError: the file cannot be read, or samples have no label.
        UsageError: columns were named that the file does not have.
    """
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise DataError(
            f"The groups file {path} cannot be read ({error}). Expected a CSV with the columns "
            f"sample_id,{','.join(spec.groups) or 'group'}."
        ) from error
    have = ", ".join(map(str, table.columns))
    chosen = dict(columns or {}) or _found(table, spec)
    named = [c for own in chosen.values() for c in own]
    absent = [c for c in ("sample_id", *named) if c not in table]
    if absent or not chosen:
        raise UsageError(
            f"The groups file {path} has no column {', '.join(absent) or 'of groups'}; it has "
            f"{have}. Name the columns: --group-column {(*spec.groups, 'KIND')[0]}=COLUMN"
        )
    faults = Faults(path)
    labels: dict[str, dict[str, str]] = {}
    rows = {str(row["sample_id"]): row for row in table.to_dict("records")}
    for kind, own in chosen.items():
        labels[kind] = {}
        for sample in ids:
            row = rows.get(sample)
            parts = [str(row[c]) for c in own] if row is not None else []
            if not parts or "" in parts:
                faults.add(sample, f"has no {kind} label")
            labels[kind][sample] = " ".join(parts)
    faults.raise_if_any(f"{spec.title} groups")
    return labels


def _found(table: pd.DataFrame, spec: DatasetSpec) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for number, kind in enumerate(spec.groups):
        names = [kind, f"{kind}_group", f"group.{kind}", *(["group"] if number == 0 else [])]
        column = next((n for n in names if n in table), None)
        if column is not None:
            found[kind] = [column]
    return found

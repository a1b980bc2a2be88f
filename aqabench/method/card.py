"""The card of a method: what it is, where it comes from, which settings it has.

A card is written with plain literals in the class body, so that listings can read it from the
source without importing torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from aqabench.errors import UsageError, nearest

Setting = bool | int | float | str | None
"""A hyper-parameter's value."""


@dataclass(frozen=True)
class MethodCard:
    """Everything people and the runner need to know before the method is imported.

    Attributes:
        name: how the command line calls it.
        title: how a table prints it.
        kind: ``method`` for published work, ``baseline`` for floors and simple strategies.
        summary: the idea in two lines.
        missing: how a missing modality is handled, at training and at test.
        paper: authors, venue, arXiv number or DOI; empty for baselines of our own.
        code: official repository and the commit that was read.
        licence: licence of that repository, or "none stated".
        differs: what differs from the published form.
        citation: BibTeX.
        claims: names under which ``leaderboards/published`` has what papers report for it.
        settings: hyper-parameter -> default.
        published: ``"fisv"`` or ``"fisv/TES"`` -> settings that the paper uses there.
        switches: published behaviours one by one, each a phrase -> the settings that turn it on
            (or off, where they are on); ``aqabench ablate`` measures what each changes.
        search: hyper-parameter -> (``"log"`` | ``"linear"``, low, high) or (``"choice"``, a, b, …).
        min_modalities: fewest streams it makes sense with.
        needs: symbols of streams without which it cannot run at all.
        stream_setting: the hyper-parameter that names the one stream which the method reads; a
            plan refuses a name that the protocol does not have.
        per_modality: unless that stream is given by hand, a plan makes one row for each stream.
        reads_groups: predicts from labels of who performs; such a row shows what identity gives
            away and is no method.
        opt_outs: contract check -> the reason why this method may fail it; shown on the board.
            One that opts out of ``trains_incomplete`` is refused where training samples lack
            streams.
        contract_settings: settings under which the contract asks whether the method learns, for
            recipes whose published schedule takes longer than a check may.
    """

    name: str
    title: str
    kind: Literal["method", "baseline"]
    summary: str
    missing: str
    paper: str = ""
    code: str = ""
    licence: str = ""
    differs: str = ""
    citation: str = ""
    claims: tuple[str, ...] = ()
    settings: Mapping[str, Setting] = field(default_factory=dict)
    published: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)
    switches: Mapping[str, Mapping[str, Setting]] = field(default_factory=dict)
    search: Mapping[str, tuple[object, ...]] = field(default_factory=dict)
    min_modalities: int = 1
    needs: tuple[str, ...] = ()
    stream_setting: str = ""
    per_modality: bool = False
    reads_groups: bool = False
    opt_outs: Mapping[str, str] = field(default_factory=dict)
    contract_settings: Mapping[str, Setting] = field(default_factory=dict)

    @property
    def needs_complete_training(self) -> str:
        """Why it cannot train on samples that lack streams; empty where it can."""
        return self.opt_outs.get("trains_incomplete", "")

    def resolve(
        self, dataset: str, class_name: str, overrides: Mapping[str, Setting]
    ) -> dict[str, Setting]:
        """Return all settings: defaults, then the paper's for this data set and class, then yours.

        Raises:
            UsageError: an override that the method does not have, or of the wrong type.
        """
        resolved = dict(self.settings)
        for key in (dataset, f"{dataset}/{class_name}"):
            resolved.update(self.published.get(key, {}))
        for name, value in overrides.items():
            if name not in self.settings:
                near = nearest(name, self.settings)
                guess = f" Did you mean '{near}'?" if near else ""
                raise UsageError(
                    f"{self.name} has no setting '{name}'.{guess} It has: "
                    f"{', '.join(sorted(self.settings)) or 'none'}. See: aqabench show {self.name}"
                )
            resolved[name] = _converted(self.name, name, value, self.settings[name])
        return resolved


def _converted(method: str, name: str, value: Setting, default: Setting) -> Setting:
    if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if default is not None and type(value) is not type(default):
        raise UsageError(
            f"The '{name}' setting of {method} must be of type {type(default).__name__}. Got "
            f"{value!r} instead. Its default is {default!r}. See: aqabench show {method}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"The '{name}' setting of {method} must be finite. Got {value!r} instead.")
    return value

"""One whole data set, every stream: the installed one, or the simulated one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

from aqabench.errors import DataError

if TYPE_CHECKING:
    from aqabench.data.features import FeatureSet
    from aqabench.data.manifest import Manifest
    from aqabench.protocol.schema import DatasetSpec

F = TypeVar("F", bound=Callable[..., Any])


def data_option(function: F) -> F:
    """Add ``--data``, with the meaning it has for ``aqabench run``."""
    return click.option(
        "--data",
        "wanted",
        type=click.Choice(["auto", "real", "simulated"]),
        default="auto",
        show_default=True,
        help="auto: the real features where they are installed, else the simulator.",
    )(function)


@dataclass(frozen=True)
class Chosen:
    """A data set as it was opened.

    Attributes:
        spec: its description.
        data: its features and scores.
        manifest: of the import; None where the data are simulated.
        why: why the data are simulated; empty where they are not.
    """

    spec: DatasetSpec
    data: FeatureSet
    manifest: Manifest | None
    why: str = ""


def open_data(name: str, wanted: str) -> Chosen:
    """Open a data set with all streams that it has.

    Raises:
        DataError: ``real`` was asked for and the data set is not installed, or is damaged.
    """
    from aqabench.data.store import DataStore
    from aqabench.disk import home
    from aqabench.protocol.library import load_dataset

    spec, store = load_dataset(name), DataStore(home() / "data")
    manifest = None if wanted == "simulated" else store.manifest(name)
    if manifest is not None:
        return Chosen(spec, store.load(spec), manifest)
    if wanted == "real":
        raise DataError(
            f"The {spec.title} features are not installed. Import them: aqabench data import "
            f"{name} --from FOLDER; or leave out '--data real' to have simulated data."
        )
    from aqabench.data.simulated import load_simulated
    from aqabench.data.source import SIMULATION_SEED

    data = load_simulated(spec, SIMULATION_SEED, [m.name for m in spec.modalities])
    why = "as asked" if wanted == "simulated" else "the real features are not installed"
    return Chosen(spec, data, None, why)

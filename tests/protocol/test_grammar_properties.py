"""Properties of the grammar: any protocol survives dump and load, any single mutation is named."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from protocol_strategies import CLASSES, FOLDS, GROUPS, KINDS, TRAININGS, asked
from test_load_properties import TEXT, Path_, Written, dotted, leaves, parent

from aqabench.errors import Fault, ProtocolError
from aqabench.protocol.fit import misfits
from aqabench.protocol.library import Asked, protocol_digest
from aqabench.protocol.load import dump, load_marked, load_model
from aqabench.protocol.schema import DatasetSpec, Protocol

THOROUGH = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
REQUIRED = {
    *("name", "version", "title", "question", "dataset", "classes", "modalities", "scenarios"),
    *("average", "over", "kind", "rates", "levels", "shown", "rate", "modality", "share", "p"),
}


def all_faults(text: str, dataset: DatasetSpec) -> list[Fault]:
    """Return what is wrong with a protocol, by itself or with its data set."""
    try:
        protocol, document = load_marked(text, Protocol, name="f.yaml")
    except ProtocolError as error:
        return list(error.faults)
    return misfits(protocol, dataset, document)


def check(
    data: dict[str, Any], dataset: DatasetSpec, path: Path_, at: Path_, twice: Path_ = ()
) -> Fault:
    """Return the one fault, which must name ``path`` in the line of ``at``."""
    written = Written(data, twice)
    found = all_faults(written.text, dataset)
    assert [fault.key for fault in found] == [dotted(path)], (found, written.text)
    assert found[0].line == written.line[at], (found, written.text)
    return found[0]


def keys_of(data: dict[str, Any]) -> list[Path_]:
    """Return the paths that end with a key."""
    return [path for path, _ in leaves(data) if path and isinstance(path[-1], str)]


def data_of(question: Asked) -> dict[str, Any]:
    """Return the protocol as a file has it, with every key written out."""
    return question.protocol.model_dump(mode="json")


@THOROUGH
@given(asked(text=TEXT))
def test_any_protocol_survives_dump_and_load(question: Asked) -> None:
    protocol, document = load_marked(dump(question.protocol), Protocol)
    assert protocol == question.protocol
    assert repr(protocol) == repr(question.protocol)
    assert misfits(protocol, question.dataset, document) == []
    assert protocol_digest(protocol, question.dataset) == question.digest
    assert dump(protocol) == dump(question.protocol)


@THOROUGH
@given(asked())
def test_written_out_it_is_the_same_protocol(question: Asked) -> None:
    text = Written(data_of(question)).text
    assert all_faults(text, question.dataset) == []
    assert load_model(text, Protocol) == question.protocol


@THOROUGH
@given(asked(), st.data())
def test_any_unknown_key_is_named(question: Asked, draw: st.DataObject) -> None:
    data = data_of(question)
    places = [path for path, value in leaves(data) if isinstance(value, dict)]
    path = (*draw.draw(st.sampled_from(places)), "xyzzy")
    parent(data, path)["xyzzy"] = draw.draw(st.none() | st.just(3) | st.just({"a": 1}))
    assert check(data, question.dataset, path, path).problem.startswith("unknown key")


@THOROUGH
@given(asked(), st.data())
def test_any_misspelt_key_is_named_and_corrected(question: Asked, draw: st.DataObject) -> None:
    data = data_of(question)
    path = draw.draw(st.sampled_from(keys_of(data)))
    key, holder = str(path[-1]), parent(data, path)
    wrong = (*path[:-1], key + key[-1])
    holder[wrong[-1]] = holder.pop(key)
    assert check(data, question.dataset, wrong, wrong).suggestion == key


@THOROUGH
@given(asked(), st.data())
def test_any_missing_key_is_named(question: Asked, draw: st.DataObject) -> None:
    data = data_of(question)
    path = draw.draw(st.sampled_from([p for p in keys_of(data) if p[-1] in REQUIRED]))
    del parent(data, path)[path[-1]]
    fault = check(data, question.dataset, path, path[:-1])
    assert fault.problem.startswith("required key is missing; it must be ")


SCHEMES = {"published-folds": {"folds": "piece"}, "kfold": {"k": 3}}
SCHEMES |= {"grouped": {"group": "event", "k": 3}}


@THOROUGH
@given(asked(), st.data())
def test_what_a_scheme_needs_is_named(question: Asked, draw: st.DataObject) -> None:
    data = data_of(question)
    scheme = draw.draw(st.sampled_from(sorted(SCHEMES)))
    data["split"] = {"scheme": scheme, **SCHEMES[scheme]}
    assert all_faults(Written(data).text, question.dataset) == []
    key = draw.draw(st.sampled_from(sorted(SCHEMES[scheme])))
    del data["split"][key]
    fault = check(data, question.dataset, ("split",), ("split",))
    assert fault.problem == f"scheme '{scheme}' needs '{key}'"


@THOROUGH
@given(asked(), st.data())
def test_any_wrong_type_is_named(question: Asked, draw: st.DataObject) -> None:
    data = data_of(question)
    path = draw.draw(st.sampled_from([p for p, _ in leaves(data) if p]))
    holder, key = parent(data, path), path[-1]
    old, wrong = holder[key], []
    if not (isinstance(old, list) or key == "sizes"):
        wrong.append([[0]])
    if not (isinstance(old, dict) or key in ("validation", "training")):
        wrong.append({"xyzzy": 0})
    if not isinstance(old, str) and key not in ("folds", "group"):
        wrong.append("word")
    if isinstance(old, str | list | dict | None) and key != "k":
        wrong.append(7)
    holder[key] = draw.draw(st.sampled_from(wrong))
    check(data, question.dataset, path, path)


def words_at(path: Path_, data: dict[str, Any]) -> tuple[str, ...]:
    """Return the words of a fixed set, one of which stands at a path; none for other places."""
    key, holder = path[-1], parent(data, path)
    if holder[key] is None:
        return ()
    if key == "kind":
        return KINDS if path[0] == "scenarios" else TRAININGS
    if key == "law":
        both = ("exact", "keep-one")
        return both if path[0] == "scenarios" else both[::-1]
    return {
        "scheme": ("official", "published-folds", "kfold", "grouped"),
        "over": ("incomplete", "all"),
        "selection": ("val", "last", "oracle"),
        "criterion": ("mean", "complete"),
        "budget": ("quick", "standard", "paper"),
    }.get(str(key), ())


def names_at(path: Path_, data: dict[str, Any], dataset: DatasetSpec) -> tuple[str, ...]:
    """Return what the data set, or the list of modalities, offers for a place; else nothing."""
    if path[0] == "classes":
        return CLASSES
    if path[0] == "modalities":
        return tuple(m.name for m in dataset.modalities)
    if path == ("training", "modality"):
        return tuple(data["modalities"])
    if path[-2:-1] in (("on",), ("shown",)):
        return (*(("each", "all") if path[-2] == "on" else ()), *data["modalities"])
    return {"folds": tuple(FOLDS), "group": GROUPS}.get(str(path[-1]), ())


def misspelt(word: str, draw: st.DataObject) -> str:
    """Return a word with a letter too many."""
    position = draw.draw(st.integers(1, len(word)))
    return word[:position] + draw.draw(st.sampled_from("xqz")) + word[position:]


@THOROUGH
@given(asked(), st.data())
def test_any_misspelt_word_is_corrected(question: Asked, draw: st.DataObject) -> None:
    data = data_of(question)
    path = draw.draw(st.sampled_from([p for p in keys_of(data) if words_at(p, data)]))
    holder, words = parent(data, path), words_at(path, data)
    word = holder[path[-1]]
    wrong = holder[path[-1]] = misspelt(word, draw)
    fault = check(data, question.dataset, path, path)
    assert fault.problem == f"'{wrong}' is not one of {', '.join(words)}"
    assert fault.suggestion == word


@THOROUGH
@given(asked(), st.data())
def test_any_misspelt_name_is_corrected(question: Asked, draw: st.DataObject) -> None:
    data = data_of(question)
    offered = {
        path: names
        for path, value in leaves(data)
        if isinstance(value, str) and (names := names_at(path, data, question.dataset))
    }
    path = draw.draw(st.sampled_from(list(offered)))
    holder = parent(data, path)
    word = holder[path[-1]]
    foreign = draw.draw(st.booleans())
    wrong = holder[path[-1]] = "mouth" if foreign else misspelt(word, draw)
    written = Written(data)
    found = all_faults(written.text, question.dataset)
    # a modality that is misspelt where it is listed is unknown wherever it is used
    assert path[0] == "modalities" or len(found) == 1, found
    (fault,) = (fault for fault in found if fault.key == dotted(path))
    assert fault.line == written.line[path], written.text
    assert fault.problem == f"'{wrong}' is not one of {', '.join(offered[path])}"
    assert fault.suggestion == ("" if foreign else word)


def out_of_range(path: Path_, data: dict[str, Any]) -> list[float]:
    """Return numbers that cannot stand at a path, none where anything can."""
    key = str(next(part for part in reversed(path) if isinstance(part, str)))
    holder: Any = data
    for part in path[:2]:
        holder = holder[part]
    kind = holder["kind"] if isinstance(holder, dict) and "kind" in holder else ""
    if key == "rates":
        steps = ("frame-iid", "block", "outage", "prefix", "suffix", "mix")
        high = {"quota": 0.35, "imbalanced": 1.0}.get(kind, 1.5 if kind in steps else 0.99)
        return [-0.1, 1.0 if path[0] == "training" else high]
    if key == "levels":
        extra = {"channels": 1.5, "freeze": 1.5, "shift": 0.5}.get(kind)
        return [-0.1, 100.5, *([extra] if extra else [])]
    return {
        "version": [0, -1],
        "draws": [0, 21],
        "tables": [0, 21],
        "sizes": [0],
        "fraction": [0.0, 0.5],
        "strata": [0, 21],
        "seed": [-1],
        "k": [1, 21],
        "skipped": [-1],
        "seeds": [-1],
        "share": [0.0, 1.5],
        "p": [-0.1, 1.0],
        "rate": [-0.1, 0.99, 1.0],
    }.get(key, [])


@THOROUGH
@given(asked(), st.data())
def test_any_number_out_of_range_is_named(question: Asked, draw: st.DataObject) -> None:
    data = data_of(question)
    places = [
        path
        for path, value in leaves(data)
        if isinstance(value, int | float) and out_of_range(path, data)
    ]
    path = draw.draw(st.sampled_from(places))
    parent(data, path)[path[-1]] = draw.draw(st.sampled_from(out_of_range(path, data)))
    check(data, question.dataset, path, path)


@THOROUGH
@given(asked(least=2), st.data())
def test_any_wrong_number_of_rates_is_named(question: Asked, draw: st.DataObject) -> None:
    data = data_of(question)
    count = len(data["modalities"])
    wrong = draw.draw(st.integers(0, 6).filter(lambda number: number != count))
    path: Path_ = ("training", "rates")
    if draw.draw(st.booleans()) and all(spec["kind"] != "swap" for spec in data["scenarios"]):
        data["training"] = {"kind": "imbalanced", "rates": [0.5] * wrong}
    else:
        path = ("scenarios", len(data["scenarios"]), "rates", 1)
        rates = [[0.5] * count, [0.25] * wrong]
        data["scenarios"].append({"kind": "imbalanced", "rates": rates})
    fault = check(data, question.dataset, path, path)
    assert fault.problem == f"must hold {count} rates, one for each modality, not {wrong}"


@THOROUGH
@given(asked(), st.data())
def test_any_key_given_twice_is_named(question: Asked, draw: st.DataObject) -> None:
    data = data_of(question)
    path = draw.draw(st.sampled_from(keys_of(data)))
    first = Written(data).line[path]
    fault = check(data, question.dataset, path, path, twice=path)
    assert f"first at line {first}," in fault.problem

"""Properties of the loader: any model survives dump and load, any single mutation is named."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_models import (
    Block,
    Level,
    Plan,
    Rates,
    Split,
    Strict,
    Subsets,
    Validation,
    faults,
)

from aqabench.errors import Fault
from aqabench.protocol.load import dump, load_model

WHOLE = st.integers(-(2**70), 2**70)
NUMBER = st.floats(allow_nan=False)
AWKWARD = st.sampled_from(
    (
        *("no", "2e-4", "0o10", "010", "~", "", " x", "x ", "a: b", "# a", "- a", "'", '"', "\\"),
        *("\t", "1\n2", "\n", "a\n", "a\n\n", " a\nb", "a \nb", "a\n b", "\r", "\x85", "\u2028"),
        *("\ufeff", "🎿", "2024-01-01", "1:30", "=", "<<", "!t", "&a", "*a", "|", ">", "%", "@"),
        *("`", "?", "? a", "[", "{}", "\0", "...", "---", "x" * 200),
    )
)
TEXT = AWKWARD | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
SCENARIOS = st.one_of(
    st.builds(
        Subsets,
        kind=st.just("subsets"),
        sizes=st.none() | st.lists(st.integers(1, 9), max_size=3).map(tuple),
    ),
    st.builds(
        Rates,
        kind=st.just("rates"),
        rates=st.lists(st.floats(0, 1), max_size=3).map(tuple),
        exact=st.booleans(),
    ),
    st.builds(Block, kind=st.just("block"), length=st.integers(1), level=st.sampled_from(Level)),
)
PLANS = st.builds(
    Plan,
    name=TEXT.filter(lambda text: 1 <= len(text) <= 40),
    dataset=st.sampled_from(["fisv", "rg", "fs1000"]),
    split=st.builds(
        Split,
        scheme=st.sampled_from(["official", "folds"]),
        validation=st.none()
        | st.builds(
            Validation,
            fraction=st.floats(0, 0.5, exclude_min=True, exclude_max=True),
            strata=st.integers(1, 20),
        ),
    ),
    scenarios=st.lists(SCENARIOS, min_size=1, max_size=4).map(tuple),
    bounds=st.tuples(NUMBER, NUMBER).map(sorted).map(tuple),
    patience=st.just("never") | WHOLE,
    weights=st.dictionaries(st.from_regex("^[a-z]{1,8}\\Z"), NUMBER, max_size=3),
    seeds=st.lists(WHOLE, min_size=1, max_size=4, unique=True).map(tuple),
)
THOROUGH = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@THOROUGH
@given(PLANS)
def test_any_model_survives_dump_and_load(plan: Plan) -> None:
    again = load_model(dump(plan), Plan)
    assert again == plan
    assert repr(again) == repr(plan)  # signs of zero too
    assert dump(again) == dump(plan)


@THOROUGH
@given(TEXT, TEXT)
def test_any_text_survives_as_key_and_value(key: str, value: str) -> None:
    class Any_(Strict):
        texts: dict[str, str]

    model = Any_(texts={key: value})
    assert load_model(dump(model), Any_) == model


def test_infinities_survive_dump_and_load() -> None:
    class Numbers(Strict):
        values: tuple[float, ...]

    values = (math.inf, -math.inf, math.nan, -0.0, 5e-324, 1.7976931348623157e308, 1e16, 1e-5)
    again = load_model(dump(Numbers(values=values)), Numbers).values
    assert repr(again) == repr(values)


Path_ = tuple[str | int, ...]


class Written:
    """Data as YAML in block style, one key a line, remembering the line of every path.

    Independent of the reader's own marks, so that it can judge them.
    """

    def __init__(self, data: dict[str, Any], twice: Path_ = ()) -> None:
        self.lines: list[str] = []
        self.line: dict[Path_, int] = {(): 1}
        self.twice = twice
        self._mapping(data, (), "")

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def _mapping(self, data: dict[str, Any], path: Path_, indent: str) -> None:
        for key, value in data.items():
            self._value(f"{indent}{json.dumps(key)}:", value, (*path, key), indent)
        for key, value in data.items():
            if (*path, key) == self.twice:
                self._value(f"{indent}{json.dumps(key)}:", value, (*path, key), indent)

    def _value(self, start: str, value: Any, path: Path_, indent: str) -> None:
        self.lines.append(start)
        self.line[path] = len(self.lines)
        if isinstance(value, dict | list) and value and isinstance(path[-1], int):
            self.line[path] += 1  # an item's place is where its content begins
        if isinstance(value, dict) and value:
            self._mapping(value, path, indent + "  ")
        elif isinstance(value, list) and value:
            for place, item in enumerate(value):
                self._value(f"{indent}  -", item, (*path, place), indent + "  ")
        else:
            self.lines[-1] += " " + self._scalar(value)

    @staticmethod
    def _scalar(value: Any) -> str:
        if isinstance(value, float) and math.isinf(value):
            return ".inf" if value > 0 else "-.inf"
        return json.dumps(value, ensure_ascii=True)


def leaves(data: Any, path: Path_ = ()) -> Iterator[tuple[Path_, Any]]:
    """Yield every path with its value, outermost first."""
    yield path, data
    if isinstance(data, dict | list):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from leaves(value, (*path, key))


def parent(data: Any, path: Path_) -> Any:
    """Return the mapping or list that holds the thing at ``path``."""
    for part in path[:-1]:
        data = data[part]
    return data


def dotted(path: Path_) -> str:
    """Write a path as messages do."""
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).removeprefix(".")


# Plans whose names JSON can write, since Written does.
PLAIN = PLANS.filter(lambda plan: plan.name.isascii()).map(
    lambda plan: plan.model_dump(mode="json")
)
WORDS = {"dataset": ["fisv", "rg", "fs1000"], "scheme": ["official", "folds"]}
WORDS |= {"kind": ["subsets", "rates", "block"], "level": ["low", "high"]}
REQUIRED = {
    "name",
    "dataset",
    "split",
    "scenarios",
    "scheme",
    "fraction",
    "kind",
    "rates",
    "length",
}


def check(data: dict[str, Any], path: Path_, at: Path_, twice: Path_ = ()) -> Fault:
    """Load the data, and return the one fault, which must name ``path`` in the line of ``at``."""
    written = Written(data, twice)
    found = faults(written.text)
    assert [fault.key for fault in found] == [dotted(path)], written.text
    assert found[0].line == written.line[at], written.text
    return found[0]


@THOROUGH
@given(PLANS.filter(lambda plan: plan.name.isascii()))
def test_an_unmutated_plan_is_written_faultlessly(plan: Plan) -> None:
    assert load_model(Written(plan.model_dump(mode="json")).text, Plan) == plan


@THOROUGH
@given(PLAIN, st.data())
def test_any_unknown_key_is_named(data: dict[str, Any], draw: st.DataObject) -> None:
    places = [p for p, v in leaves(data) if isinstance(v, dict) and p != ("weights",)]
    path = (*draw.draw(st.sampled_from(places)), "xyzzy")
    target = parent(data, path)
    target["xyzzy"] = draw.draw(st.none() | st.just(3) | st.just({"a": 1}))
    assert check(data, path, path).problem.startswith("unknown key")


@THOROUGH
@given(PLAIN, st.data())
def test_any_misspelt_key_is_named_and_corrected(data: dict[str, Any], draw: st.DataObject) -> None:
    keys = [p for p, _ in leaves(data) if p and isinstance(p[-1], str) and p[0] != "weights"]
    path = draw.draw(st.sampled_from(keys))
    key, holder = str(path[-1]), parent(data, path)
    wrong = key[:-1] + key[-1] * 2
    value = holder.pop(key)
    holder[wrong] = value
    fault = check(data, (*path[:-1], wrong), (*path[:-1], wrong))
    assert fault.suggestion == key


@THOROUGH
@given(PLAIN, st.data())
def test_any_missing_key_is_named(data: dict[str, Any], draw: st.DataObject) -> None:
    keys = [p for p, _ in leaves(data) if p and p[-1] in REQUIRED and p[0] != "weights"]
    path = draw.draw(st.sampled_from(keys))
    holder = parent(data, path)
    del holder[path[-1]]
    if path[-1] == "kind":  # what is left may be empty, which is written on the item's own line
        holder.setdefault("sizes", None)
    if not holder:
        return
    fault = check(data, path, path[:-1])
    assert fault.problem.startswith("required key is missing; it must be ")


@THOROUGH
@given(PLAIN, st.data())
def test_any_wrong_type_is_named(data: dict[str, Any], draw: st.DataObject) -> None:
    places = [p for p, _ in leaves(data) if p]
    path = draw.draw(st.sampled_from(places))
    holder = parent(data, path)
    old = holder[path[-1]]
    wrong: list[Any] = []
    if not (isinstance(old, list) or path[-1] == "sizes"):
        wrong.append([[0]])
    if not (isinstance(old, dict) or path[-1] == "validation"):
        wrong.append({"xyzzy": 0})
    if not isinstance(old, str):
        wrong.append("word")
    if isinstance(old, bool | str | list | dict | None) and path[-1] != "patience":
        wrong.append(7)
    holder[path[-1]] = draw.draw(st.sampled_from(wrong))
    check(data, path, path)


@THOROUGH
@given(PLAIN, st.data())
def test_any_misspelt_word_is_corrected(data: dict[str, Any], draw: st.DataObject) -> None:
    places = [p for p, _ in leaves(data) if p and p[-1] in WORDS and p[0] != "weights"]
    path = draw.draw(st.sampled_from(places))
    holder = parent(data, path)
    word = holder[path[-1]]
    position = draw.draw(st.integers(0, len(word)))
    wrong = word[:position] + draw.draw(st.sampled_from("xqz")) + word[position:]
    holder[path[-1]] = wrong
    fault = check(data, path, path)
    assert fault.problem == f"'{wrong}' is not one of {', '.join(WORDS[str(path[-1])])}"
    assert fault.suggestion == word


@THOROUGH
@given(PLAIN, st.data())
def test_any_key_given_twice_is_named(data: dict[str, Any], draw: st.DataObject) -> None:
    keys = [p for p, _ in leaves(data) if p and isinstance(p[-1], str)]
    path = draw.draw(st.sampled_from(keys))
    first = Written(data).line[path]
    fault = check(data, path, path, twice=path)
    assert f"first at line {first}," in fault.problem

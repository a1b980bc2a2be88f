"""The generic loader: models from YAML, every fault at once, by line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
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
from pydantic import BaseModel

from aqabench.errors import ProtocolError
from aqabench.protocol.load import NEXT_STEP, dump, load_marked, load_model

GOOD = """\
name: fisv-missing
dataset: fisv
split:
  scheme: official
  validation:
    fraction: 0.15
scenarios:
  - kind: subsets
    sizes: [1, 2]
  - {kind: rates, rates: [0, 2e-1], exact: true}
  - kind: block
    length: 010
    level: high
bounds: [0, 45]
seeds: [0, 1, 2]
"""


def said(text: str | bytes, model: type[BaseModel] = Plan) -> list[str]:
    """Return the fault messages."""
    return [str(fault).removeprefix("f.yaml:") for fault in faults(text, model)]


def test_a_good_file_becomes_a_model() -> None:
    plan = load_model(GOOD, Plan)
    assert plan == Plan(
        name="fisv-missing",
        dataset="fisv",
        split=Split(scheme="official", validation=Validation(fraction=0.15)),
        scenarios=(
            Subsets(kind="subsets", sizes=(1, 2)),
            Rates(kind="rates", rates=(0.0, 0.2), exact=True),
            Block(kind="block", length=10, level=Level.HIGH),
        ),
        bounds=(0.0, 45.0),
        seeds=(0, 1, 2),
    )
    assert isinstance(plan.bounds[0], float)


CANONICAL = """\
name: fisv-missing
dataset: fisv
split:
  scheme: official
  validation:
    fraction: 0.15
    strata: 5
scenarios:
- kind: subsets
  sizes: [1, 2]
- kind: rates
  rates: [0.0, 0.2]
  exact: true
- kind: block
  length: 10
  level: high
bounds: [0.0, 45.0]
patience: never
weights: {}
seeds: [0, 1, 2]
"""

ONE_FAULT = {
    "unknown key": (
        ("fraction", "fracton"),
        "6:5: split.validation.fracton: unknown key; did you mean 'fraction'?",
    ),
    "unknown key, far from all": (
        ("seeds:", "xyzzy:"),
        "15:1: xyzzy: unknown key; allowed here: name, dataset, split, scenarios, bounds,"
        " patience, weights, seeds",
    ),
    "key at the wrong place": (
        ("seeds: [0, 1, 2]", "strata: 3"),
        "15:1: strata: unknown key; did you mean 'split.validation.strata'?",
    ),
    "key of another kind": (
        ("sizes: [1, 2]", "length: 2"),
        "9:5: scenarios[0].length: kind 'subsets' does not take this key; block does",
    ),
    "misspelt literal": (
        ("fisv\n", "fivs\n"),  # the second of the two
        "2:10: dataset: 'fivs' is not one of fisv, rg, fs1000; did you mean 'fisv'?",
    ),
    "misspelt member of an enumeration": (
        ("high", "hihg"),
        "13:12: scenarios[2].level: 'hihg' is not one of low, high; did you mean 'high'?",
    ),
    "wrong kind": (
        ("subsets", "subset"),
        "8:11: scenarios[0].kind: 'subset' is not one of subsets, rates, block;"
        " did you mean 'subsets'?",
    ),
    "misspelt kind key": (
        ("kind: subsets", "knid: subsets"),
        "8:5: scenarios[0].knid: unknown key; did you mean 'kind'?",
    ),
    "no kind": (
        ("kind: rates, ", ""),
        "10:5: scenarios[1].kind: required key is missing; it must be one of subsets, rates, block",
    ),
    "no key in a nested model": (
        ("    fraction: 0.15\n", "    strata: 3\n"),
        "5:3: split.validation.fraction: required key is missing;"
        " it must be a number above 0 and below 0.5",
    ),
    "no key in an item of a list": (
        ("    length: 010\n", ""),
        "11:5: scenarios[2].length: required key is missing;"
        " it must be a whole number of at least 1",
    ),
    "no key at the top": (
        ("dataset: fisv\n", ""),
        "1:1: dataset: required key is missing; it must be one of fisv, rg, fs1000",
    ),
    "word for a number": (
        ("010", "three"),
        "12:13: scenarios[2].length: must be a whole number of at least 1 (got 'three')",
    ),
    "quoted number": (
        ("010", "'3'"),
        "12:13: scenarios[2].length: must be a whole number of at least 1, without quotes"
        " (got '3')",
    ),
    "fraction for a whole number": (
        ("010", "3.0"),
        "12:13: scenarios[2].length: must be a whole number of at least 1 (got 3.0);"
        " did you mean '3'?",
    ),
    "truth for a number": (
        ("010", "true"),
        "12:13: scenarios[2].length: must be a whole number of at least 1 (got true)",
    ),
    "out of bounds": (
        ("2e-1", "2"),
        "10:30: scenarios[1].rates[1]: must be a number from 0 to 1 (got 2)",
    ),
    "word for a truth": (
        ("exact: true", "exact: yes"),
        "10:44: scenarios[1].exact: must be true or false (got 'yes'); did you mean 'true'?",
    ),
    "number for a text": (
        ("name: fisv-missing", "name: 2024"),
        "1:7: name: must be a text of 1 to 40 characters; put it in quotes (got 2024)",
    ),
    "nothing": (
        ("name: fisv-missing", "name:"),
        "1:6: name: must be a text of 1 to 40 characters (got null)",
    ),
    "word for a list": (
        ("seeds: [0, 1, 2]", "seeds: 0"),
        "15:8: seeds: must be a list of at least 1 item, each a whole number (got 0); did you "
        "mean '[0]'?",
    ),
    "list too short": (
        ("seeds: [0, 1, 2]", "seeds: []"),
        "15:8: seeds: must be a list of at least 1 item, each a whole number (got a list of 0"
        " items)",
    ),
    "pair of one": (
        ("[0, 45]", "[0]"),
        "14:9: bounds: must be a list of 2 items, each a number (got a list of 1 item)",
    ),
    "pair of three": (
        ("[0, 45]", "[0, 1, 2]"),
        "14:9: bounds: must be a list of 2 items, each a number (got a list of 3 items)",
    ),
    "number for a model": (
        ("{kind: rates, rates: [0, 2e-1], exact: true}", "7"),
        "10:5: scenarios[1]: must be a mapping whose 'kind' is one of subsets, rates, block"
        " (got 7)",
    ),
    "number for an optional model": (
        ("  validation:\n    fraction: 0.15\n", "  validation: 0.15\n"),
        "5:15: split.validation: must be a mapping with the keys fraction, strata, or null"
        " (got 0.15)",
    ),
    "no member of a union": (
        ("seeds: [0, 1, 2]", "patience: nevr"),
        "15:11: patience: must be 'never' or a whole number (got 'nevr'); did you mean 'never'?",
    ),
    "bad key of a mapping": (
        ("seeds: [0, 1, 2]", "weights: {B: 1}"),
        "15:11: weights.B: as a key, must be a text that matches ^[a-z]+$",
    ),
    "bad value of a mapping": (
        ("seeds: [0, 1, 2]", "weights: {b: x}"),
        "15:14: weights.b: must be a number (got 'x')",
    ),
    "validator that names the place": (
        ("[0, 1, 2]", "[0, 1, 0]"),
        "15:15: seeds[2]: seed given twice (got 0)",
    ),
    "validator that does not": (
        ("[0, 45]", "[46, 45]"),
        "1:1: the first bound must not be above the second",
    ),
    "key twice": (
        ("bounds: [0, 45]", "name: x"),
        "14:1: name: key given twice, first at line 1, column 1",
    ),
    "alias": (
        ("bounds: [0, 45]", "bounds: *b"),
        "14:9: bounds: the alias '*b' is not allowed; write it out",
    ),
    "number too large": (
        ("0.15", "1e999"),
        "6:15: split.validation.fraction: the number 1e999 does not fit 64 bits",
    ),
}


@pytest.mark.parametrize("case", ONE_FAULT)
def test_one_fault_one_sentence(case: str) -> None:
    (old, new), message = ONE_FAULT[case]
    before, found, after = GOOD.rpartition(old)
    assert found
    assert said(before + new + after) == [message]


def test_every_fault_at_once_by_line() -> None:
    text = """\
nam: 3
dataset: [fisv]
split:
  schem: folds
  validation: {fracton: 0.7, strata: 0}
scenarios:
  - kidn: subset
    sizes: [0, x]
  - kind: rate
    rates: 1
    lenght: 3
  - {<<: {a: 1}, kind: block}
  - !t {kind: block}
seeds: [a, b]
dataset: rg
seed: 3
"""
    assert said(text) == [
        "1:1: nam: unknown key; did you mean 'name'?",
        "1:6: nam: must be a text of 1 to 40 characters; put it in quotes (got 3)",
        "2:10: dataset: must be one of fisv, rg, fs1000 (got a list of 1 item)",
        "4:3: split.schem: unknown key; did you mean 'scheme'?",
        "5:16: split.validation.fracton: unknown key; did you mean 'fraction'?",
        "5:25: split.validation.fracton: must be a number above 0 and below 0.5 (got 0.7)",
        "5:38: split.validation.strata: must be a whole number of at least 1 (got 0)",
        "7:5: scenarios[0].kidn: unknown key; did you mean 'kind'?",
        "7:11: scenarios[0].kidn: 'subset' is not one of subsets, rates, block;"
        " did you mean 'subsets'?",
        "8:13: scenarios[0].sizes[0]: must be a whole number of at least 1 (got 0)",
        "8:16: scenarios[0].sizes[1]: must be a whole number of at least 1 (got 'x')",
        "9:11: scenarios[1].kind: 'rate' is not one of subsets, rates, block;"
        " did you mean 'rates'?",
        "10:12: scenarios[1].rates: must be a list, each a number from 0 to 1 (got 1); did you "
        "mean '[1]'?",
        "11:5: scenarios[1].lenght: unknown key; allowed here: kind, rates, exact",
        "12:6: scenarios[2]: a merge key '<<' is not allowed; write the keys out",
        "13:5: scenarios[3]: the tag '!t' is not allowed; remove it",
        "14:9: seeds[0]: must be a whole number (got 'a')",
        "14:12: seeds[1]: must be a whole number (got 'b')",
        "15:1: dataset: key given twice, first at line 2, column 1",
        "16:1: seed: unknown key; allowed here: name, dataset, split, scenarios, bounds,"
        " patience, weights, seeds",
    ]


def test_validators_speak_although_a_key_is_unknown() -> None:
    text = GOOD.replace("[0, 1, 2]", "[0, 0, 0]") + "color: 3\n"
    assert [f.key for f in faults(text)] == ["seeds[1]", "seeds[2]", "color"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "1:1: must be a mapping with the keys name, dataset,"),
        ("- a", "1:1: must be a mapping with the keys name, dataset,"),
        ("", "1:1: the file is empty"),
        ("name: [", "1:8: the file ends in the middle"),
    ],
)
def test_what_is_no_mapping_has_one_fault(text: str, message: str) -> None:
    (only,) = said(text)
    assert only.startswith(message)


def test_a_lax_model_is_read_strictly_all_the_same() -> None:
    class Lax(BaseModel):
        number: int = 1
        flag: bool = False

    assert said("number: '3'\nflag: 1\nother: x\n", Lax) == [
        "1:9: number: must be a whole number, without quotes (got '3')",
        "2:7: flag: must be true or false (got 1)",
        "3:1: other: unknown key; allowed here: number, flag",
    ]


def test_unions_of_models_lists_and_types_that_contain_themselves() -> None:
    class Tree(Strict):
        name: str
        left: Tree | None = None
        value: Validation | tuple[int, ...] | Literal["auto"] = "auto"

    globals()["Tree"] = Tree
    try:
        assert load_model("name: a\nleft: {name: b, value: [1]}\n", Tree).left is not None
        assert said("name: a\nleft: {name: 1, value: [x]}\nvalue: {fraction: 2}\n", Tree) == [
            "2:14: left.name: must be a text; put it in quotes (got 1)",
            "2:25: left.value[0]: must be a whole number (got 'x')",
            "3:19: value.fraction: must be a number above 0 and below 0.5 (got 2)",
        ]
        assert said("name: a\nvalue: auot\n", Tree) == [
            "2:8: value: must be a mapping with the keys fraction, strata or a list, each a whole"
            " number or 'auto' (got 'auot'); did you mean 'auto'?"
        ]
    finally:
        del globals()["Tree"]


def test_dump_is_canonical_and_quotes_what_any_yaml_would_misread() -> None:
    class Words(Strict):
        words: tuple[str, ...]
        about: str

    words = ("no", "2e-4", "0o10", "010", "1:30", "2024-01-31", "~", "", "Räty", "a: b")
    assert dump(Words(words=words, about="one\n two\n")) == (
        "words: ['no', '2e-4', '0o10', '010', '1:30', '2024-01-31', '~', '', Räty, 'a: b']\n"
        "about: |\n  one\n   two\n"
    )
    assert dump(load_model(GOOD, Plan)) == CANONICAL


def test_files(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(GOOD, encoding="utf-8-sig")
    assert load_model(path, Plan) == load_model(GOOD.encode(), Plan)
    plan, document = load_marked(path, Plan)
    assert plan.seeds == (0, 1, 2)
    fault = document.fault(("seeds", 1), "is not allowed", got="1")
    assert str(fault) == "plan.yaml:15:12: seeds[1]: is not allowed (got 1)"
    path.write_text(GOOD.replace("fisv\n", "fis\n"), encoding="utf-8")
    with pytest.raises(ProtocolError) as caught:
        load_model(path, Plan)
    assert str(caught.value) == (
        f"{path} has 1 fault. {NEXT_STEP}\n"
        "  plan.yaml:2:10: dataset: 'fis' is not one of fisv, rg, fs1000; did you mean 'fisv'?"
    )


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(GOOD, encoding="utf-8")
    with pytest.raises(ProtocolError, match=r"no file .*plna\.yaml\. Did you mean .*plan\.yaml'"):
        load_model(tmp_path / "plna.yaml", Plan)
    with pytest.raises(ProtocolError, match=r"no file .*plan\.yaml\. Check"):
        load_model(tmp_path / "absent" / "plan.yaml", Plan)
    with pytest.raises(ProtocolError, match="cannot be read"):
        load_model(tmp_path, Plan)


def test_no_torch() -> None:
    code = "import aqabench.protocol.load, aqabench.protocol.json_schema, sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert "torch" not in done.stdout.split()

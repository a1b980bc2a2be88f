"""Finding methods: one file each, no list to edit.

Three sources: the shipped folders ``methods/`` and ``baselines/``, installed packages with an
entry point in the group ``aqabench.methods``, and ``--plugin file.py``.  Cards are read from the
source text, so finding and listing never imports torch; a file is imported when it is used.  A
file that cannot be read stays visible with its reason and never hides the others.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from aqabench.errors import MethodError, UnknownNameError, UsageError
from aqabench.method.card import MethodCard
from aqabench.resources import PACKAGE, folder

if TYPE_CHECKING:
    from aqabench.method.base import Method

BUILT_IN = ("methods", "baselines")
ENTRY_POINTS = "aqabench.methods"
ENGINE = (
    "method/base.py", "method/single.py", "method/staged.py", "nn", "train",
    "data/batch.py", "data/features.py", "data/splits.py", "seeds.py",
)  # fmt: skip
"""Parts of the package whose source can change what a method computes."""


@dataclass(frozen=True)
class Entry:
    """One method as found: its card, or the reason why it cannot be used."""

    name: str
    path: Path
    module: str
    class_name: str = ""
    card: MethodCard | None = None
    error: str = ""


@dataclass
class Registry:
    """All methods that could be found."""

    entries: list[Entry] = field(default_factory=list)

    def names(self) -> list[str]:
        """Return the names that can be used, sorted."""
        return sorted(e.name for e in self.entries if not e.error)

    def get(self, name: str) -> Entry:
        """Return the method of that name.

        Raises:
            UnknownNameError: no method is called so.
            MethodError: its file is broken, or the name is defined twice.
        """
        found = [e for e in self.entries if e.name == name]
        if not found:
            raise UnknownNameError("method", name, self.names(), "aqabench list methods")
        if found[0].error:
            raise MethodError(
                f"Method '{name}' cannot be used: {found[0].error} "
                f"Mend {found[0].path} and run 'aqabench check {name}'."
            )
        return found[0]

    def load(self, name: str) -> type[Method]:
        """Import the file of a method and return its class.

        Raises:
            UnknownNameError, MethodError: as :meth:`get`, or the import fails.
        """
        entry = self.get(name)
        try:
            module = import_entry(entry)
            found: type[Method] = getattr(module, entry.class_name)
        except Exception as error:
            raise MethodError(
                f"Method '{name}' cannot be imported from {entry.path}: "
                f"{type(error).__name__}: {error}. Mend the file and run 'aqabench check {name}'."
            ) from error
        return found


def discover(plugins: Sequence[Path] = ()) -> Registry:
    """Scan all sources.

    Args:
        plugins: files named with ``--plugin``.

    Raises:
        UsageError: a plug-in does not exist, or takes a name that another file has.
    """
    entries: list[Entry] = []
    for name in BUILT_IN:
        for path in sorted(folder(name).glob("*.py")):
            if not path.stem.startswith("_"):
                entries += scan_file(path, f"aqabench.{name}.{path.stem}")
    for point in sorted(importlib.metadata.entry_points(group=ENTRY_POINTS)):
        entries += _scan_entry_point(point)
    for path in plugins:
        if not path.is_file():
            raise UsageError(
                f"The plug-in {path} is not a file. Give one: --plugin path/to/file.py"
            )
        path = path.resolve()
        digest = hashlib.sha256(str(path).encode()).hexdigest()[:12]
        found = scan_file(path, f"aqabench_plugin_{digest}_{path.stem}")
        for entry in found:
            for other in entries:
                if other.name == entry.name and other.path != path:
                    raise UsageError(
                        f"The method name '{entry.name}' is defined twice: in {other.path} and in "
                        f"{path}. Give the card in your plug-in another name."
                    )
        entries += [e for e in found if e not in entries]
    return Registry(_mark_duplicates(entries))


def scan_file(path: Path, module: str) -> list[Entry]:
    """Read the cards in one file without running it."""
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        line = f" line {error.lineno}:" if isinstance(error, SyntaxError) else ""
        return [Entry(path.stem, path, module, error=f"{path.name}:{line} {error}.")]
    except OSError as error:
        return [Entry(path.stem, path, module, error=f"{path.name} cannot be read: {error}.")]
    absent = _absent_imports(tree)
    problem = (
        f"{path.name} imports '{absent}', which is not installed (pip install it)."
        if absent
        else ""
    )
    constants: dict[str, ast.expr] = {}
    entries: list[Entry] = []
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            constants[node.targets[0].id] = node.value
        if not isinstance(node, ast.ClassDef):
            continue
        call = _card_call(node)
        if call is None:
            continue
        try:
            card = _card(call, constants)
        except (ValueError, TypeError, KeyError) as error:
            reason = f"{path.name}, line {call.lineno}: the card of {node.name} {error}."
            entries.append(Entry(path.stem, path, module, node.name, error=reason))
        else:
            entries.append(Entry(card.name, path, module, node.name, card, problem))
    if not entries:
        reason = f"{path.name} has no class with a line 'card = MethodCard(…)'."
        entries.append(Entry(path.stem, path, module, error=reason))
    return entries


def source_digest(entry: Entry) -> str:
    """Return sha256 over the method's file, its helpers and the parts of aqabench it runs on.

    A change in any of them can change a number, so it makes a new run.
    """
    files = {entry.path}
    if any(folder(name) == entry.path.parent for name in BUILT_IN):
        files.update(_sibling_imports(entry.path))
    total = hashlib.sha256()
    for path in sorted(files, key=lambda p: p.name):
        total.update(path.name.encode() + b"\0" + path.read_bytes())
    total.update(_engine_digest().encode())
    return total.hexdigest()


@functools.cache
def _engine_digest() -> str:
    total = hashlib.sha256()
    for part in ENGINE:
        root = PACKAGE / part
        paths = [root] if root.is_file() else sorted(root.rglob("*.py"))
        for path in paths:
            total.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def _sibling_imports(path: Path) -> set[Path]:
    """Return the built-in method files that this one imports, e.g. a shared network."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if len(parts) == 3 and parts[0] == "aqabench" and parts[1] in BUILT_IN:
                other = folder(parts[1]) / f"{parts[2]}.py"
                if other.is_file() and other != path:
                    found |= {other} | _sibling_imports(other)
    return found


def _scan_entry_point(point: importlib.metadata.EntryPoint) -> list[Entry]:
    module = point.value.split(":")[0]
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError) as error:
        spec, reason = None, str(error)
    else:
        reason = "no such module"
    if spec is None or not spec.origin:
        text = f"the installed package offers {module}, which cannot be found ({reason})."
        return [Entry(point.name, Path(module), module, error=text)]
    return scan_file(Path(spec.origin), module)


def _mark_duplicates(entries: list[Entry]) -> list[Entry]:
    places: dict[str, list[Entry]] = {}
    for entry in entries:
        places.setdefault(entry.name, []).append(entry)
    marked: list[Entry] = []
    for entry in entries:
        same = places[entry.name]
        if len(same) > 1:
            where = " and ".join(str(e.path) for e in same)
            reason = f"the name '{entry.name}' is defined twice: {where}."
            entry = Entry(entry.name, entry.path, entry.module, entry.class_name, error=reason)
        marked.append(entry)
    return marked


def import_entry(entry: Entry) -> ModuleType:
    """Import the file of a method, as a built-in module or from the plug-in's path."""
    if entry.module in sys.modules or not entry.module.startswith("aqabench_plugin_"):
        return importlib.import_module(entry.module)
    spec = importlib.util.spec_from_file_location(entry.module, entry.path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[entry.module] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[entry.module]
        raise
    return module


def _absent_imports(tree: ast.Module) -> str:
    """Return the first top-level import that is not installed, or an empty string."""
    for node in tree.body:
        names: Iterable[str] = ()
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
        for name in names:
            top = name.split(".")[0]
            if top not in sys.modules and importlib.util.find_spec(top) is None:
                return top
    return ""


def _card_call(node: ast.ClassDef) -> ast.Call | None:
    for item in node.body:
        value = None
        if isinstance(item, ast.Assign) and isinstance(item.targets[0], ast.Name):
            target, value = item.targets[0].id, item.value
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            target, value = item.target.id, item.value
        if isinstance(value, ast.Call) and target == "card":
            name = value.func
            if isinstance(name, ast.Name) and name.id == "MethodCard":
                return value
    return None


def _card(call: ast.Call, constants: dict[str, ast.expr]) -> MethodCard:
    known = {f.name for f in fields(MethodCard)}
    given: dict[str, object] = {}
    for keyword in call.keywords:
        if keyword.arg is None or keyword.arg not in known:
            raise ValueError(f"has no field '{keyword.arg}'; it has {', '.join(sorted(known))}")
        given[keyword.arg] = _literal(keyword.value, constants)
    return MethodCard(**given)  # type: ignore[arg-type]


def _literal(node: ast.expr, constants: dict[str, ast.expr]) -> object:
    """Evaluate literals, names of literal constants above the class, and ``{**A, "b": 1}``."""
    if isinstance(node, ast.Name) and node.id in constants:
        return _literal(constants[node.id], constants)
    if isinstance(node, ast.Dict):
        result: dict[object, object] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                inner = _literal(value, constants)
                if not isinstance(inner, dict):
                    raise ValueError("unpacks something that is not a dict")
                result.update(inner)
            else:
                result[_literal(key, constants)] = _literal(value, constants)
        return result
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item, constants) for item in node.elts)
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise ValueError(
            f"must be written with plain literals; '{ast.unparse(node)[:40]}' is not one"
        ) from None

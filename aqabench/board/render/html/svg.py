"""Charts of matplotlib as SVG inside a page.

The page's content policy forbids styles at an element, so they become attributes; greys become
shares of the text's own colour, which makes one drawing right on light and on dark paper.  Equal
figures give equal bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
LOOK: Mapping[str, object] = {
    "svg.hashsalt": "aqabench",
    "svg.fonttype": "none",  # text stays text: small, selectable, read aloud
    "text.parse_math": False,  # a method's name is no formula
    "font.size": 9.0,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "axes.titley": 1.0,  # a place of its own: finding one takes as long as the drawing
}
SIZES: Mapping[str, float] = {"wide": 600, "middle": 480, "narrow": 300, "tiny": 0}
"""Class in the style sheet -> points from which on a chart has it."""
_FONT = re.compile(r"(?P<before>.*?)(?P<size>[\d.]+)px")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_DROPPED = {"font-family", "font-stretch", "font-variant", "-inkscape-font-specification"}


@contextmanager
def look() -> Iterator[None]:
    """Draw figures as the page wants them."""
    from matplotlib import rc_context

    with rc_context(LOOK):  # type: ignore[arg-type]
        yield


def inline_svg(figure: Figure, name: str, title: str, *, cropped: bool = False) -> Markup:
    """Return a figure as an element of a page.

    Args:
        figure: drawn under :func:`look`.
        name: unique in the page; ids in the drawing begin with it.
        title: what a screen reader says of it.
        cropped: cut empty margins off; takes a second drawing.
    """
    margins = {"bbox_inches": "tight", "pad_inches": 0.05} if cropped else {}
    content = io.BytesIO()
    with look():
        figure.savefig(content, format="svg", metadata={"Date": None}, transparent=True, **margins)
    text = content.getvalue().decode()
    root = ElementTree.fromstring(text)  # noqa: S314 - our own drawing
    used = _used(root)
    _clean(root, name, used)
    width = float(root.attrib["viewBox"].split()[2])
    root.attrib = {
        "viewBox": root.attrib["viewBox"],
        "class": f"chart {next(name for name, least in SIZES.items() if width >= least)}",
        "role": "img",
        "aria-label": title,
        "stroke-linejoin": "round",
        "stroke-linecap": "butt",
    }
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # noqa: S704 - serialised XML


def _used(root: ElementTree.Element) -> set[str]:
    """Return the ids that something in the drawing refers to."""
    found = set()
    for element in root.iter():
        for value in element.attrib.values():
            found.update(_REFERENCE.findall(value))
            if value.startswith("#"):
                found.add(value[1:])
    return found


def _clean(root: ElementTree.Element, name: str, used: set[str]) -> None:
    """Rewrite a drawing in place."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.removeprefix(SVG)
        attributes = {}
        for key, value in element.attrib.items():
            if key == "style":
                attributes.update(_style(value))
            elif key == "id":
                if value in used:
                    attributes["id"] = f"{name}-{value}"
            elif key == f"{XLINK}href":
                attributes["href"] = f"#{name}-{value[1:]}" if value.startswith("#") else value
            else:
                attributes[key] = value
        for key, value in attributes.items():
            attributes[key] = _REFERENCE.sub(rf"url(#{name}-\1)", value)
        element.attrib = _themed(attributes)


def _style(text: str) -> dict[str, str]:
    """Return the declarations of a style as attributes."""
    found = {}
    for declaration in filter(None, (part.strip() for part in text.split(";"))):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":
            short = _FONT.match(value)
            if short:
                found["font-size"] = f"{short['size']}px"
                weight = [w for w in short["before"].split() if w in ("bold", "600", "700")]
                if weight:
                    found["font-weight"] = "bold"
        elif key not in _DROPPED:
            found[key] = value
    return found


def _themed(attributes: dict[str, str]) -> dict[str, str]:
    """Return attributes in which a grey is a share of the text's colour, and white nothing."""
    for key in ("fill", "stroke"):
        share = _darkness(attributes.get(key, ""))
        if share is None:
            continue
        attributes[key] = "currentColor" if share else "none"
        opacity = f"{key}-opacity"
        if 0 < share < 1:
            attributes[opacity] = f"{share * float(attributes.get(opacity, '1')):.3g}"
    return attributes


def _darkness(colour: str) -> float | None:
    """Return 1 for black and 0 for white; None for what is no grey."""
    if not re.fullmatch(r"#[0-9a-f]{6}", colour):
        return None
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return 1 - red / 255 if red == green == blue else None

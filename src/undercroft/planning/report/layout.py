"""A page that stands alone: a template, the style sheets, and everything from outside escaped and cleaned."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from undercroft import __version__
from undercroft.planning.report.drawing import Drawing
from undercroft.planning.report.palette import plot_style
from undercroft.planning.report.words import clean

_FOLDER = Path(__file__).parent


def render_page(template: str, folder: Path = _FOLDER, **shown: Any) -> str:
    """A whole HTML file: no script, nothing fetched, light and dark, for A4 too.

    Args:
        template: A file that extends ``base.html.j2``.
        folder: Where it lies.
        shown: What it shows; ``title`` and ``made_at`` among it. Texts are escaped, control characters taken out.
    """
    style = (_FOLDER / "page.css").read_text(encoding="utf-8") + plot_style()
    return _templates(folder).get_template(template).render(style=Markup(style), version=__version__, **shown)


def shown_drawing(drawing: Drawing) -> dict[str, Any]:
    """A plot for a template. Its markup comes from an XML writer, which has escaped every text in it."""
    return {"title": drawing.title, "markup": Markup(drawing.markup())}


@cache
def _templates(folder: Path) -> Environment:
    return Environment(
        loader=FileSystemLoader([folder, _FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finished,
    )


def _finished(value: object) -> object:
    return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value

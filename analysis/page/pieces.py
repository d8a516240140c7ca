"""Pieces of the page: sections, tables and figures from texts that are escaped already."""

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go


def plot(figure: go.Figure, *, least_width: int = 0) -> str:
    """A figure as a place for it and its data; the page's script draws it.

    One that needs a width in pixels scrolls where the screen has less.
    """
    style = f"min-height:{figure.layout.height}px" + (f";min-width:{least_width}px" if least_width else "")
    drawn = f'<div class="plot" style="{style}"></div>{_script(figure.to_json())}'
    return scroll(drawn) if least_width else drawn


def scroll(body: str) -> str:
    """What may be broader than a text: it takes the margins of the page, and scrolls where they are not enough."""
    return f'<div class="broad"><div class="scroll">{body}</div></div>\n'


def data(value: Any) -> str:
    """A value for the page's script."""
    return _script(json.dumps(value, separators=(",", ":")))


def _script(text: str) -> str:
    # In a script element only "</" and "<!" are special; both start with "<".
    return f'<script type="application/json">{text.replace("<", chr(92) + "u003c")}</script>\n'


def section(title: str, lead: str, body: str) -> str:
    """A heading, a sentence in soft ink, and what they announce."""
    lead = f'<p class="lead">{lead}</p>\n' if lead else ""
    return f"<section>\n<h2>{title}</h2>\n{lead}{body}</section>\n"


def table(head: Sequence[str], rows: Iterable[str], *, text: int = 1, kind: str = "") -> str:
    """A table from escaped heads and ready rows; the first `text` columns are left-aligned."""
    cells = "".join(f'<th scope="col"{" class=text" if i < text else ""}>{name}</th>' for i, name in enumerate(head))
    body = f"<tbody>\n{''.join(rows)}</tbody>"
    return scroll(f'<table class="{kind}"><thead><tr>{cells}</tr></thead>\n{body}</table>')


def row(first: str, cells: Iterable[str], kind: str = "") -> str:
    """A row of a table under its head."""
    values = "".join(f"<td>{cell}</td>" for cell in cells)
    return f'<tr class="{kind}"><th scope="row" class="text">{first}</th>{values}</tr>\n'


def breakable(text: str) -> str:
    """Escaped, with places after '_', '/' and ':' where a narrow screen may break a name, rather than inside a word."""
    return re.sub("([_/:])", r"\1<wbr>", escape(text))


def under(value: str, small: str) -> str:
    """A value with a small line below."""
    return f"{value}<small>{small}</small>"

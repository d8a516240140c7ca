"""Pieces of the page: sections, tables and figures from texts that are escaped already."""

import json
import re
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go


def plot(figure: go.Figure, *, wide: bool = False) -> str:
    """A figure as a place for it and its data; the page's script draws it. A wide one scrolls on a narrow screen."""
    style = f"min-height:{figure.layout.height}px"
    drawn = f'<div class="plot" style="{style}"></div>{_script(figure.to_json())}'
    return f'<div class="scroll wide">{drawn}</div>\n' if wide else drawn


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
    return (
        f'<div class="scroll"><table class="{kind}"><thead><tr>{cells}</tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


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

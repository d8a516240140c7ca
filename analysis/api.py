"""The whole analysis under one name: a study that knows its front, the student to take, and its figures."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from analysis.figures.figures import FIGURES
from analysis.selection.front import front
from analysis.selection.picking import Pick, pick
from analysis.study.table import StudyTable, load_table
from spaces.errors import choose


class Study(StudyTable):
    """What `analysis.load` returns: the tables of a study folder, and what can be asked of them."""

    def front(self, objectives: Sequence[str] | None = None) -> pd.DataFrame:
        """The students that no other beats, cheapest first; `objectives` instead of the study's own."""
        return front(self, objectives)

    def pick(self, **limits: Any) -> Pick:
        """One student under a budget; see `analysis.selection.picking.pick` for the limits."""
        return pick(self, **limits)

    def figure(self, name: str = "front", **options: Any) -> go.Figure:
        """A plotly figure by name (`analysis.figures.figures.FIGURES`); a notebook shows it."""
        return choose("figure", FIGURES, name)(self, **options)


def load(folder: str) -> Study:
    """Read and check a study folder (a local path or a URI). Raises StillhouseError."""
    return Study(**vars(load_table(folder)))

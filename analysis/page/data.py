"""The section of the page about data: what was read of corpus and tasks, and what was left out, cut or unread."""

from collections.abc import Iterable
from html import escape

from analysis.page import pieces
from analysis.study.table import StudyTable
from spaces.records.data import corpus_lines, no_better_line, sizes_text, task_lines

LEAD = "What trials were taught and scored on, and what of it is not used, cut off or unreadable."


def data_section(study: StudyTable) -> str:
    """A list of corpus and tasks; empty for studies of versions that kept nothing of it."""
    data = study.meta.data
    if data is None:
        return ""
    items = [_item("corpus", corpus_lines(data.corpus))]
    for name, facts in data.tasks.items():
        task = study.meta.tasks.get(name)
        unlearned = no_better_line(facts, task.metric, task.teacher) if task is not None else ""
        items.append(_item(name, [sizes_text(facts), *task_lines(facts), *filter(None, [unlearned])]))
    return pieces.section("Data", LEAD, f'<dl class="facts">{"".join(items)}</dl>\n')


def _item(name: str, lines: Iterable[str]) -> str:
    return f"<dt>{escape(name)}</dt><dd>{'<br>'.join(map(escape, lines))}</dd>"

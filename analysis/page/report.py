"""The study as one self-contained HTML page: verdict, front, comparisons, curves, failures, time, environment.

The page loads nothing (plotly.js is inside, once), follows the reader's light or dark setting, and keeps every number
in a table as well as in a figure, so that it reads without scripts and on paper. All text from a study is escaped.
"""

from base64 import b64encode
from hashlib import sha256
from html import escape
from importlib.resources import files

import pyarrow.fs
from plotly.offline import get_plotlyjs

from analysis.page import pieces
from analysis.page import search as search_sections
from analysis.page import students as sections
from analysis.page.baselines import baselines_section
from analysis.page.comparison import comparison_section
from analysis.page.data import data_section
from analysis.page.languages import language_section
from analysis.page.text import headline
from analysis.selection.front import front
from analysis.study.scoring import tasks_by_protocol
from analysis.study.table import StudyTable, load_table
from analysis.words import number, plural
from spaces.errors import StillhouseError
from spaces.records.filesystems import make_parent, open_filesystem
from spaces.records.shares import WEAK


def write_report(folder: str, out: str | None = None, profile: str | None = None) -> str:
    """Write the page of a study folder to `out` (the folder's report.html unless told) and return where it is."""
    study = load_table(folder)
    study = study if profile is None else study.with_profile(profile)
    return write_page(page_of(study), str(out) if out else f"{str(folder).rstrip('/')}/report.html")


def write_page(page: str, target: str) -> str:
    """Write a page to a path or URI, whole or not at all, and return where it is.

    Raises StillhouseError where it cannot be written.
    """
    filesystem, path = open_filesystem(target)
    parent, _, name = path.rpartition("/")
    local = isinstance(filesystem, pyarrow.fs.LocalFileSystem)
    written = f"{parent or '.'}/.{name}.tmp" if local else path  # an object store shows a file only when it is whole
    try:
        make_parent(filesystem, path)
        with filesystem.open_output_stream(written) as file:
            file.write(page.encode())
        if local:
            filesystem.move(written, path)
    except OSError as error:
        reason = str(error).splitlines()[0]
        raise StillhouseError(f"{target} cannot be written; choose another place with --out FILE ({reason})") from error
    return target


def page_of(study: StudyTable) -> str:
    """The page of one study as text."""
    return page(study.meta.name, content(study))


def page(title: str, body: str, *more: str) -> str:
    """A whole HTML page around a body. `more` names scripts beside report.js; with one, the page may ask its server.

    The content security policy lets only these scripts run, whatever a body might hold, and nothing be loaded.
    """
    here = files("analysis.page")
    style = here.joinpath("report.css").read_text()
    scripts = [get_plotlyjs(), *(f"\n{here.joinpath(name).read_text()}" for name in ("report.js", *more))]
    digests = " ".join(f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" for text in scripts)
    asks = "'self'" if more else "'none'"
    policy = (
        f"default-src 'none'; script-src {digests} 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
        f"connect-src {asks}; base-uri 'none'; form-action 'none'"
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}: stillhouse study</title>\n<style>\n{style}</style>\n"
        f"</head>\n<body>\n<main>\n{body}\n</main>\n"
        + "".join(f"<script>{text}</script>\n" for text in scripts)
        + "</body>\n</html>\n"
    )


def content(study: StudyTable) -> str:
    """What a person reads, in this order."""
    members = front(study)
    body = [
        _header(study),
        comparison_section(study),
        sections.front_section(study, members),
        language_section(study, members),
        sections.test_section(study, members),
        baselines_section(study),
        sections.methods_section(study),
        sections.mappings_section(study),
        search_sections.progress_section(study),
        search_sections.curves_section(study, members),
        search_sections.decisions_section(study),
        search_sections.parallel_section(study),
        search_sections.importance_section(study),
        search_sections.failures_section(study),
        search_sections.time_section(study),
        data_section(study),
        search_sections.environment_section(study),
        _footer(study),
    ]
    return "\n".join(part for part in body if part)


def _header(study: StudyTable) -> str:
    meta, teacher = study.meta, study.meta.teacher
    counts = study.searched["status"].value_counts()
    beside = "".join(f"; {plural(count, what)}" for what, count in study.beside.items())
    ended = ", ".join(f"{counts[status]:,} {escape(str(status))}" for status in counts.index) or "none"
    scored = tasks_by_protocol(study)
    tasks = [f"{p}: {', '.join(names)}" if len(scored) > 1 else ", ".join(names) for p, names in scored.items()]
    size = f"{number(teacher.costs.get('parameters'))} parameters"
    facts = {
        "Teacher": pieces.under(pieces.breakable(teacher.name), size),
        "Trials": pieces.under(ended, f"{study.planned}{beside}"),
        "Training": pieces.under(f"{number(meta.train_tokens)} tokens", "per trial"),
        "Scored by": pieces.under(escape(", ".join(scored)), pieces.breakable("; ".join(tasks))),
        "Objectives": pieces.under(escape(", ".join(meta.objectives)), escape(meta.aim.limits_text)),
    }
    listed = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts.items())
    notes = [*(f"{WEAK} {line}" for line in study.warnings), *study.notes]
    warned = "".join(f'<p class="warn">{escape(note)}</p>' for note in notes)
    first, rest = headline(study)
    created = escape(meta.created[:10])
    return (
        f'<header>\n<p class="eyebrow"><b>stillhouse</b> &nbsp; {escape(meta.name)} &nbsp; {created}</p>\n'
        f"<h1>{escape(first)}</h1>\n<p>{escape(rest)}</p>\n<dl>{listed}</dl>\n{warned}</header>"
    )


def _footer(study: StudyTable) -> str:
    return f"<footer>Read from {escape(study.folder)}. {plural(len(study.trials), 'trial')} recorded.</footer>"

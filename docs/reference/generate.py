"""Write the pages of the reference from the code: python docs/reference/generate.py

A test compares the pages with what this prints, so run it after a change of settings, commands, columns or entries.
"""

import argparse
import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from search.cli.main import COMMANDS, build_parser  # noqa: E402
from search.samplers.registry import GRID, SAMPLERS  # noqa: E402
from search.spec.explain import schema  # noqa: E402
from search.spec.reading import default_of, show  # noqa: E402
from search.spec.sections import SECTIONS  # noqa: E402
from spaces.records import columns  # noqa: E402
from spaces.records.objectives import all_objectives  # noqa: E402
from spaces.records.rows import STATUSES  # noqa: E402
from spaces.space.axes import all_axes  # noqa: E402
from spaces.space.starts import STARTS  # noqa: E402
from spaces.space.table import default_values  # noqa: E402
from spaces.students.architecture import SHAPES, StudentArchitecture, TeacherFacts  # noqa: E402
from spaces.students.layer_mapping import MAPPINGS  # noqa: E402
from spaces.students.transfer import METHODS  # noqa: E402
from trainables.models.families import FAMILIES  # noqa: E402
from trainables.models.families.bert import BertFacts  # noqa: E402
from trainables.models.signals import SIGNALS  # noqa: E402
from trainables.tasks.kinds import KINDS  # noqa: E402
from trainables.tasks.spec import TaskSpec  # noqa: E402

TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false"}
BASE = StudentArchitecture(12, 768, 12, 3072)
READ = {
    "bert": "all-MiniLM-L6-v2; multilingual-e5-small (from 4 bits)",
    "xlm-roberta": "multilingual-e5-small (from 4 bits), written as this type",
    "mpnet": "all-mpnet-base-v2",
    "electra": "all-MiniLM-L6-v2, written as this type",
    "distilbert": "all-MiniLM-L6-v2, written as this type",
}
"""Family -> checkpoints; docs/results/families.md says what was done with them."""
LIMITS = {"mpnet": "yes, where padding is token 1"}
"""Families whose students cannot read what every teacher reads."""
TEACHER = TeacherFacts("bert-base", BertFacts("bert"), BASE, 30522, 512, 2, True, "")
"""Defaults of axes depend on the teacher; the page shows those of this one."""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("<", "\\<") for cell in line) + " |\n" for line in lines
    )


def code(text: object) -> str:
    """As code, or nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def page(title: str, *parts: str) -> str:
    """A page with a note where it comes from."""
    note = "Written by `python docs/reference/generate.py` from the code."
    return "\n".join([f"# {title}\n", f"{note}\n", *parts])


def type_text(hint: Any) -> str:
    """The type of a setting in words."""
    if hint == str | tuple[str, ...]:
        return "text, or list of texts"
    if isinstance(hint, types.UnionType):
        hint = next(arm for arm in typing.get_args(hint) if arm is not type(None))
    if typing.get_origin(hint) is tuple:
        return f"list of {TYPES.get(typing.get_args(hint)[0], 'table')}s"
    return TYPES.get(hint) or "table of numbers"


def rules_text(rules: Mapping[str, Any]) -> str:
    """'at least 1, below 3', or the choices."""
    words = {"at_least": "at least", "above": "above", "below": "below"}
    found = [f"{words[rule]} {rules[rule]:,}" for rule in words if rule in rules]
    return ", ".join([*found, *(code(choice) for choice in rules.get("choices", ()))])


def section_table(section: type) -> str:
    """A row for each key."""
    hints, rows = typing.get_type_hints(section), []
    for field in dataclasses.fields(section):
        default = default_of(field)
        shown = (
            "required" if default is dataclasses.MISSING else "unset" if default in (None, "") else code(show(default))
        )
        doc = field.metadata["doc"]
        rows.append([code(field.name), type_text(hints[field.name]), shown, rules_text(field.metadata), doc])
    return table(["key", "type", "default", "legal values", "meaning"], rows)


def spec() -> str:
    """Every key of a spec."""
    top = table(
        ["key", "type", "default", "meaning"],
        [
            ["`name`", "text", "the file's name", "name of the study"],
            ["`seed`", "whole number", "`0`", "seed of the sampler and of every trial"],
        ],
    )
    intro = (
        "A spec is a TOML file. Relative paths start from its folder. `$NAME` in a path is an environment variable. "
        "`stillhouse check --schema` prints its JSON schema ([spec.schema.json](spec.schema.json)): editors complete a "
        "spec whose first line is `#:schema PATH` with the path or URL of that file.\n"
    )
    parts = [intro, top]
    for title, section in SECTIONS.items():
        parts += [f"## [{title}]\n", section_table(section)]
    parts += ["## [[tasks]]\n", "One block for each task.\n", section_table(TaskSpec), space()]
    return page("The spec", *parts)


def space() -> str:
    """The [space] table."""
    rows = []
    for name, axis in all_axes().items():
        owners = [code(method) for method, known in METHODS.items() if axis in known.axes]
        default = "required" if name == "method" else ""
        if axis.default is not None:
            line = default_values(axis, TEACHER).to_line()
            default = code(show(line) if isinstance(line, list) else toml_range(line))
        rows.append([code(name), ", ".join(owners) or "all", default, "yes" if axis.may_be_range else "", axis.meaning])
    intro = (
        "The axes of the search. A line is a list of values, one value, or for some axes a range "
        "`{ low = 3e-4, high = 3e-3, log = true }`. Shapes are given as `shape`, or as `num_layers` and "
        "`hidden_size` (and `num_heads`, `ffn_ratio`). Defaults depend on the teacher; these are for 12 layers of "
        "width 768 with 12 heads. Default values that fit no shape are left out.\n"
    )
    return "\n".join(
        ["## [space]\n", intro, table(["axis", "of methods", "default", "may be a range", "meaning"], rows)]
    )


def toml_range(line: Mapping[str, Any]) -> str:
    """A range as TOML has it."""
    return "{ " + ", ".join(f"{key} = {show(value)}" for key, value in line.items()) + " }"


def commands() -> str:
    """Every command with its arguments."""
    parser = build_parser()
    choices = next(a.choices for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    parts = [table(["command", "what it does"], [[f"[`{n}`](#{n})", c.help] for n, c in COMMANDS.items()])]
    for name, command in COMMANDS.items():
        rows = [
            [code(argument_text(action)), (action.help or "").replace("%%", "%")]
            for action in choices[name]._actions
            if not isinstance(action, argparse._HelpAction)
        ]
        head = command.help[0].upper() + command.help[1:] + "."
        parts += [f"## {name}\n", f"{head}\n", f"```sh\n{command.example}\n```\n", table(["argument", "meaning"], rows)]
    parts.append("`stillhouse --version` prints the version, `stillhouse COMMAND --help` the arguments of a command.\n")
    parts.append("Exit codes: 0 done, 1 an error of the study, 2 an input to correct, 130 interrupted.\n")
    return page("Commands", *parts)


def argument_text(action: argparse.Action) -> str:
    """'DIR', '[SPEC]', '--top N'."""
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if not action.option_strings:
        return f"[{metavar}]" if action.nargs == "?" else f"{metavar} ..." if action.nargs == "+" else metavar
    if action.nargs == 0:
        return action.option_strings[0]
    if action.choices:
        metavar = "{" + ",".join(map(str, action.choices)) + "}"
    return f"{action.option_strings[0]} {metavar}" + (" ..." if action.nargs == "+" else "")


def columns_page() -> str:
    """Every column of a study's Parquet files."""
    sets = {
        "trials": (columns.trials_columns(("TASK",), by_language=True), "One row for each trial that ended."),
        "reports": (columns.reports_columns(), "What trials report while they train."),
        "decisions": (columns.decisions_columns(), "What the schedule freeze_thaw decided, and against what."),
        "asked": (columns.asked_columns(), "What was asked for, written before a trial starts."),
        "test_scores": (columns.test_scores_columns(), "Scores on the test splits."),
        "baselines": (columns.baselines_columns(), "The teacher cut to the shapes of the front, without training."),
        "profiles": (columns.profiles_columns(), "Costs measured again by `stillhouse profile`."),
    }
    parts = ["Each data set is a folder of Parquet files. Unit and meaning stand in the files as well.\n"]
    for name, (known, text) in sets.items():
        rows = [[code(c.name), str(c.type), c.unit, c.meaning] for c in known]
        parts += [f"## {name}/\n", f"{text}\n", table(["column", "type", "unit", "meaning"], rows)]
    statuses = [[code(name), text] for name, text in STATUSES.items()]
    parts += ["## Status of a trial\n", table(["status", "meaning"], statuses)]
    return page("Columns of a study", *parts)


def first_line(thing: Callable[..., Any]) -> str:
    """The first line of a docstring."""
    return (thing.__doc__ or "").strip().splitlines()[0]


def paper(text: str) -> str:
    """arXiv numbers as links."""
    words = text.split(",", 1)
    if not words[0].startswith("arXiv:"):
        return text
    link = f"[{words[0]}](https://arxiv.org/abs/{words[0].removeprefix('arXiv:')})"
    return ",".join([link, *words[1:]])


def methods() -> str:
    """Methods, mappings and starts."""
    known = [
        [
            code(name),
            method.meaning,
            ", ".join(method.signals) or "nothing",
            ", ".join(code(axis.name) for axis in method.axes),
            "yes" if method.needs_lm_head else "",
            paper(method.paper),
        ]
        for name, method in METHODS.items()
    ]
    heads = [
        "method",
        "what is learned",
        "reads of the teacher",
        "own axes",
        "needs a teacher with an LM head",
        "paper",
    ]
    return page(
        "Methods, mappings and starts",
        "## Methods\n",
        'Methods can be summed with weights: `"hs + 0.5 od"`.\n',
        table(heads, known),
        "## Signals\n",
        "What a method may read of a model.\n",
        table(["signal", "what it is"], [[code(name), signal.meaning] for name, signal in SIGNALS.items()]),
        "## Mappings\n",
        "Which layers of the teacher a layer of the student learns from, under `hs`. L_S and L_T are the numbers of "
        'layers. Explicit pairs are written `"1-2 2-4 3-6"`.\n',
        table(["mapping", "pairs"], [[code(name), first_line(mapping)] for name, mapping in MAPPINGS.items()]),
        "## Starts\n",
        "The weights that a student starts from (`initialisation`).\n",
        table(["start", "weights"], [[code(name), start.meaning] for name, start in STARTS.items()]),
    )


def supported() -> str:
    """Families, shapes, task kinds, costs, samplers."""
    kinds = [
        [
            code(name),
            kind.doc,
            ", ".join(
                code(column.name) + ("" if column.required else " (optional)") for column in kind.columns.values()
            ),
            ", ".join(code(metric.name) for metric in kind.metrics),
            ", ".join(map(code, kind.protocols)),
        ]
        for name, kind in KINDS.items()
    ]
    goals = [
        [code(each.name), "larger" if each.direction == "max" else "smaller", each.unit, code(each.column)]
        for each in all_objectives().values()
    ]
    shapes = [
        [code(name), str(s.num_layers), str(s.hidden_size), str(s.num_heads), str(s.intermediate_size)]
        for name, s in SHAPES.items()
    ]
    families = [
        [code(name), READ.get(name, "none"), "no" if family.for_reading is None else LIMITS.get(name, "yes")]
        for name, family in FAMILIES.items()
    ]
    samplers = [[code(name), first_line(sampler)] for name, sampler in SAMPLERS.items()]
    samplers.append([code(GRID), "Every configuration of the space, one after the other."])
    return page(
        "Families, task kinds, costs and samplers",
        "## Families of teachers\n",
        "Each family is checked against transformers' own models, made from small configs. Real weights were read "
        "of those that the second column names; no others were tried. The third column says whether a student may "
        "be of the family where its teacher is not (`[space] family`).\n",
        table(["family", "real weights that were read", "students of any teacher"], families),
        "## Shapes with a name\n",
        "Heads that a shape leaves out are of the teacher's size where that divides the width. What else it leaves "
        "out comes from this table; for other shapes the feed-forward width is 4 times the width, and heads have "
        "size 64 or 32.\n",
        table(["shape", "layers", "width", "heads", "feed-forward width"], shapes),
        "## Task kinds\n",
        "The first metric is the default. The first protocol serves studies that ask for one that a kind lacks.\n",
        table(["kind", "what is predicted", "columns", "metrics", "protocols"], kinds),
        "## Objectives and costs\n",
        table(["name", "better", "unit", "column of `trials/`"], goals),
        "## Samplers\n",
        table(["sampler", "how it draws"], samplers),
    )


PAGES: dict[str, Callable[[], str]] = {
    "spec.md": spec,
    "spec.schema.json": schema,
    "commands.md": commands,
    "columns.md": columns_page,
    "methods.md": methods,
    "supported.md": supported,
}


def main() -> None:
    """Write all pages."""
    for name, make in PAGES.items():
        (HERE / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()

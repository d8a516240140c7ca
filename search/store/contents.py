"""What a study was made of when it began, kept in its folder and compared whenever it is gone on with."""

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.samplers.registry import HALVING
from search.spec.paths import moved
from search.spec.reading import read_section
from search.store.parts import Store
from spaces.errors import SpecError, StillhouseError
from spaces.records.contents import Content, changes, digest_of, from_json, to_json
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.sources import CorpusSpec

FILE = "contents.json"
STUDENTS_TOKENIZER = "student's tokenizer"
"""What a study has that gives students another tokenizer than the teacher's."""
Contents = Mapping[str, Content]


def digests_of(contents: Contents) -> dict[str, str]:
    """What study.json keeps of them."""
    return {what: digest_of(content) for what, content in contents.items()}


def stored_table(store: Store) -> dict[str, Any]:
    """The spec that a study folder keeps, its paths followed where the folder was moved along with what they name.

    A study of a release that knew one schedule goes on with that one.
    """
    table = tomllib.loads(store.read_text("spec.toml"))
    table.setdefault("search", {}).setdefault("schedule", HALVING)
    if store.is_local and store.exists("study.json") and (place := store.read_meta().place):
        return moved(table, place, store.root)
    return table


@dataclass(frozen=True)
class StoredData:
    """The sections of a stored spec that say what a student reads and how it is scored."""

    corpus: CorpusSpec
    tasks: tuple[TaskSpec, ...]
    evaluation: EvaluationSpec


def stored_data(table: Mapping[str, Any]) -> StoredData:
    """Those of a table of `stored_table`, read without the rest of the spec, whose rules load the samplers.

    Raises SpecError for what this version does not read.
    """
    problems: list[str] = []
    corpus = read_section("[corpus]", CorpusSpec, table.get("corpus", {}), problems)
    tasks = [read_section(f"[[tasks]] {each.get('name')}", TaskSpec, each, problems) for each in table.get("tasks", ())]
    evaluation = read_section("[evaluation]", EvaluationSpec, table.get("evaluation", {}), problems)
    if problems:
        raise SpecError(problems)
    return StoredData(CorpusSpec(**corpus), tuple(TaskSpec(**each) for each in tasks), EvaluationSpec(**evaluation))


def write_contents(store: Store, contents: Contents) -> None:
    """Write contents.json, unless it says so already."""
    text = to_json(contents)
    if not store.exists(FILE) or store.read_text(FILE) != text:
        store.write_text(FILE, text)


def refuse_changed(store: Store, contents: Contents, teacher_digest: str, say: Callable[[str], None]) -> None:
    """Raise StillhouseError, which names what changed, when a study is to go on over other contents than it began with.

    A study of a version that kept no digests is told of in one line; its teacher is compared all the same.
    """
    if not store.exists("study.json"):
        return
    meta = store.read_meta()
    found = []
    if meta.contents:
        found = differing(store, contents, list(dict.fromkeys([*meta.contents, *contents])))
    else:
        say(f"{store.folder} keeps no digests (an earlier version made it): corpus and tasks are known by their paths")
        if meta.teacher.digest != teacher_digest:
            found = ["teacher: its weights or config.json are others"]
    if found:
        listed = "".join(f"\n  {line}" for line in found)
        raise StillhouseError(
            f"{store.folder} was made of other content, and scores of both cannot be compared; undo these changes or "
            f"choose another folder:{listed}"
        )


def differing(store: Store, contents: Contents, wanted: Sequence[str]) -> list[str]:
    """What of the wanted contents differs from that of a study that keeps digests, in lines for a person."""
    known, digests = store.read_meta().contents, digests_of(contents)
    other = [what for what in wanted if known.get(what) != digests.get(what)]
    if not other:
        return []
    kept = kept_contents(store)
    lines = []
    for what in other:
        if what not in known or what not in digests:
            lines.append(f"{what}: was {'there' if what in known else 'not there'}")
        elif what in kept:
            lines += changes(what, kept[what], contents[what])
        else:
            lines.append(f"{what}: differs")
    return lines


def kept_contents(store: Store) -> Contents:
    """contents.json; nothing where it is lost or damaged, for the digests of study.json say enough to refuse."""
    try:
        return from_json(store.read_text(FILE))
    except (StillhouseError, ValueError, KeyError, TypeError, AttributeError):
        return {}

"""`stillhouse trim`: a teacher over the pieces that corpus and tasks of a spec use, and what their texts become."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from search.spec.checks import load_table, read_spec
from spaces.errors import SpecError
from spaces.telling import Say
from trainables.cache import new_folder
from trainables.export.folders import quiet_transformers
from trainables.models.published import card_of_derived
from trainables.models.teacher import load_teacher
from trainables.models.tokenizer import load_tokenizer
from trainables.models.vocabulary import trim
from trainables.tasks.data import Rows
from trainables.tasks.prepare import read_task
from trainables.text.sources import CorpusSpec, queries_of, read_texts, supplement_of

COMPARED = 2000
"""Texts of each source that are cut again to see what became of them."""


def sources_of_spec(path: str, say: Say) -> tuple[str, dict[str, list[str]]]:
    """(the teacher, source -> its texts): the corpus of a spec and each of its tasks, their test texts left out.

    Raises SpecError with everything that is wrong with them.
    """
    spec = read_spec(*load_table(path), path)
    found: dict[str, list[str]] = {}
    problems: list[str] = []
    try:
        corpora = [spec.corpus, *filter(None, [queries_of(spec.corpus), supplement_of(spec.corpus)])]
        found["corpus"] = [text for corpus in corpora for part in read_texts(corpus, say) for text in part]
    except SpecError as error:
        problems += error.problems
    for task in spec.tasks:
        try:
            _, rows, _ = read_task(task, say)
            found[f"task {task.name}"] = [
                text for split, each in rows.items() if split != "test" for text in texts_of(each)
            ]
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(problems, source=path)
    return spec.teacher.path, found


def texts_of(rows: Rows) -> Iterator[str]:
    """All texts in the inputs of rows; words that belong together are one text."""
    for values in rows.inputs.values():
        for value in values:
            yield from flat(value)


def flat(value: Any) -> Iterator[str]:
    """A text, or those in a list of texts; a tuple holds the words of one."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, tuple) and all(isinstance(each, str) for each in value):
        yield " ".join(value)
    elif isinstance(value, Sequence):
        for each in value:
            yield from flat(each)


def sources_of_corpora(corpora: Sequence[str], text_column: str, say: Say) -> dict[str, list[str]]:
    """Source -> its texts, to train on and held out."""
    parts = {each: read_texts(CorpusSpec(source=each, text_column=text_column), say) for each in corpora}
    return {name: [*train, *held_out] for name, (train, held_out) in parts.items()}


def trim_teacher(path: str, sources: Mapping[str, list[str]], pieces: int | None, target: Path, say: Say) -> None:
    """Write a teacher over the pieces that the sources use, and say what became of the texts of each."""
    if target.exists():
        raise SpecError([f"{target} is there already; give a folder that is not"])
    with quiet_transformers():
        teacher = load_teacher(path, where="TEACHER")
        with new_folder(target) as folder:
            texts = [text for each in sources.values() for text in each]
            say(f"teacher: {path}; the pieces of {len(texts):,} texts are counted")
            trimmed = trim(teacher.model, teacher.tokenizer, texts, pieces, folder, say)
            card = f"# {teacher.facts.name}, trimmed\n\nIts vocabulary, cut by stillhouse: {trimmed.text}."
            (folder / "README.md").write_text(card_of_derived(path, card), encoding="utf-8")
            small = load_tokenizer(folder, trimmed.pieces, teacher.facts.max_positions)
    say(f"vocabulary: {trimmed.text}")
    for name, each in sources.items():
        say(f"{name}: {cut_alike(teacher.tokenizer, small, each):.1%} of {len(each):,} texts are cut as before")
    say(f"written to {target}; as a teacher: [teacher] path = {str(target)!r}")


def cut_alike(before: PreTrainedTokenizerBase, after: PreTrainedTokenizerBase, texts: Sequence[str]) -> float:
    """Share of the texts, or of a sample, that fall into the same pieces under both tokenizers."""
    places = np.unique(np.linspace(0, len(texts) - 1, min(COMPARED, len(texts))).astype(np.int64))
    sample = [texts[i] for i in places]

    def pieces(tokenizer: PreTrainedTokenizerBase) -> list[list[str]]:
        ids = tokenizer(sample, add_special_tokens=False, verbose=False)["input_ids"]
        return [list(tokenizer.convert_ids_to_tokens(each)) for each in ids]

    return float(np.mean([a == b for a, b in zip(pieces(before), pieces(after), strict=True)])) if sample else 1.0

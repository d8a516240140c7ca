"""What a study reads of its corpus and tasks, and what it leaves out, cuts or cannot read: as values and as lines."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

SHOWN = 4
"""Names in one line."""
NOTABLE = 0.005
"""Shares below this are not told: a half of a percent."""
NO_BETTER = 0.01
"""A score within this of what the commonest class gives has learnt nothing."""
PARTS = {"train": "train", "held_out": "held out", "test": "not used, since it is for tests", "unused": "not read"}
"""What a file of a corpus may be used for, and how a person is told."""


@dataclass(frozen=True)
class CorpusFacts:
    """What is read of a corpus."""

    texts: int = 0
    """to train on"""
    held_out_texts: int = 0
    left_out_texts: int = 0
    """which neither train nor are held out: the same as those that are, or more of them than are needed"""
    near_duplicates: int = 0
    """texts left out that say nearly what an earlier one says"""
    classes: tuple[str, ...] = ()
    """of its texts, where they are labelled; their order numbers them"""
    tokens: int = 0
    """to train on, once"""
    held_out_tokens: int = 0
    row_tokens: float = 0.0
    """of a single text on average; 0 in blocks"""
    sampled: bool = False
    """whether the text is sampled: by max_tokens, or by languages"""
    unknown: Mapping[str, float] = field(default_factory=dict)
    """share of tokens that stand for what the tokenizer cannot read, by language; under "" of all text"""
    files: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """names by what they are used for, a key of PARTS"""
    estimated: bool = False
    """whether tokens and shares are those of a sample"""


@dataclass(frozen=True)
class TaskFacts:
    """What is read of a task; shares and counts are over its splits together unless they are by split."""

    rows: Mapping[str, int] = field(default_factory=dict)
    """by split, as they are used"""
    classes: int = 0
    """0: numbers, or none"""
    dev_from_train: bool = False
    dropped_from_train: int = 0
    """rows that also stand in dev or test"""
    labels_dropped: int = 0
    """of words beyond max_length, or that the tokenizer makes nothing of"""
    documents_left_out: int = 0
    max_length: int = 0
    """tokens"""
    row_tokens: float = 0.0
    """of a row on average, in all its texts"""
    full: float = 0.0
    """share of the texts that fill max_length, where more is cut off"""
    unknown: float = 0.0
    """share of tokens that stand for what the tokenizer cannot read"""
    absent: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """by split, the classes that it does not have"""
    commonest: float | None = None
    """share of the commonest class of dev; None where there are no classes"""
    notes: tuple[str, ...] = ()
    """what was said while the source was read: files and splits that are not used"""
    estimated: bool = False
    """whether shares of tokens are those of a sample"""


@dataclass(frozen=True)
class DataFacts:
    """Of all that a study reads."""

    corpus: CorpusFacts
    tasks: Mapping[str, TaskFacts] = field(default_factory=dict)


def corpus_lines(facts: CorpusFacts) -> Iterator[str]:
    """What is worth telling of a corpus, a sentence each."""
    if facts.files:
        yield told_files(facts.files)
    about = "about " if facts.estimated else ""
    sample = ", a sample over all text" if facts.sampled else ""
    if facts.held_out_texts:
        held_out = f"{facts.held_out_tokens:,} tokens of {facts.held_out_texts:,} texts are held out"
        yield f"{facts.tokens:,} tokens to train on{sample}, of {facts.texts:,} texts; {held_out}"
    elif facts.tokens:
        yield f"{about}{facts.tokens:,} tokens to train on{sample}"
    if facts.left_out_texts:
        yield (
            f"{facts.left_out_texts:,} texts neither train nor are held out: they say the same as one that is, or are "
            "more than are needed"
        )
    if facts.near_duplicates:
        yield f"{facts.near_duplicates:,} texts are left out, near duplicates of earlier ones"
    shares = {language: share for language, share in facts.unknown.items() if share >= NOTABLE}
    if shares:
        listed = ", ".join(f"{share:.1%} of the tokens" + f" of {code}" * bool(code) for code, share in shares.items())
        yield f"unknown to the tokenizer: {about}{listed}"


def task_lines(facts: TaskFacts) -> Iterator[str]:
    """What is left out, cut or missing in a task, a sentence each; nothing where nothing is."""
    yield from facts.notes
    if facts.dev_from_train:
        yield f"there is no dev split, so {facts.rows['dev']:,} rows are taken from train"
    if facts.documents_left_out:
        total = facts.rows["documents"] + facts.documents_left_out
        kept = f"{facts.rows['documents']:,} of {total:,} documents"
        yield f"{kept} are searched, all that answer queries among them (max_docs)"
    if facts.dropped_from_train:
        total = facts.rows["train"] + facts.dropped_from_train
        yield (
            f"{facts.dropped_from_train:,} of {total:,} rows of train are not used, "
            "since they also stand in dev or test"
        )
    if facts.labels_dropped:
        yield f"{facts.labels_dropped:,} words are not scored, beyond max_length or unreadable"
    about = "about " if facts.estimated else ""
    if facts.full >= NOTABLE:
        yield f"{about}{facts.full:.0%} of the texts fill max_length = {facts.max_length}, what is beyond is cut off"
    if facts.unknown >= NOTABLE:
        yield f"unknown to the tokenizer: {about}{facts.unknown:.1%} of the tokens"
    for split, names in facts.absent.items():
        more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
        yield f"{split} has no row of {', '.join(names[:SHOWN])}{more}"


def no_better_line(facts: TaskFacts, metric: str, teacher: float) -> str:
    """The warning where the teacher's dev score is that of the commonest class; else nothing."""
    if metric != "accuracy" or facts.commonest is None or teacher > facts.commonest + NO_BETTER:
        return ""
    return f"the teacher scores {teacher:.3f}, no better than the commonest class of dev with {facts.commonest:.3f}"


def told_files(files: Mapping[str, tuple[str, ...]]) -> str:
    """What each file of a corpus became."""
    lines = []
    for part, title in PARTS.items():
        names = files.get(part, ())
        more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
        if names:
            lines.append(f"{title}: {', '.join(names[:SHOWN])}{more}")
    return "; ".join(lines)


def sizes_text(facts: TaskFacts) -> str:
    """Rows of each split, and classes."""
    rows = ", ".join(f"{split} {count:,}" for split, count in facts.rows.items())
    return f"{rows}; {facts.classes:,} classes" if facts.classes else rows

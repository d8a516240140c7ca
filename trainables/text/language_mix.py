"""A corpus of several languages, mixed so that small ones are not drowned: sampled with a temperature.

Of n_l tokens of language l, the mix takes a share p_l proportional to n_l^(1/T) (XLM-R, arXiv:1911.02116, section 3.1,
whose exponent 0.3 is T = 3.3; T = 1 keeps the proportions). All shares together make as many tokens as are asked for,
so that a small language goes through its documents several times, in another order and so cut into other blocks each
time, and a large one is subsampled. A block holds one language; blocks are interleaved, so that every beginning of the
mix is mixed alike. Held-out text is taken as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from spaces.records.data import PARTS, CorpusFacts
from spaces.telling import Say
from trainables.text.corpus_files import corpus_files, part_named
from trainables.text.files import File
from trainables.text.packing import pack, tokenised, unknown_share
from trainables.text.sources import CorpusSpec, distinct, listed, open_files

SEED = 0
"""Of the order of documents; a trial's order of blocks has the trial's seed."""


@dataclass(frozen=True)
class Language:
    """The texts of one language, their token ids, and which of them the mix takes, in which order."""

    texts: list[str]
    tokens: list[list[int]]
    held_out: list[str]
    near_duplicates: int
    """Texts that are not among them for that."""
    order: list[int] = field(default_factory=list)

    @property
    def num_tokens(self) -> int:
        """Of all texts once."""
        return sum(map(len, self.tokens))

    @property
    def num_sampled(self) -> int:
        """Of the texts that the mix takes."""
        return sum(len(self.tokens[i]) for i in self.order)


def languages_of(spec: CorpusSpec) -> dict[str, dict[str, list[File]]]:
    """Language -> its files by the part that they are, by the outermost folder that names none (train/en/, en/train/).

    Raises SpecError where there are not two.
    """
    of_files = not (spec.source == "docs" or spec.source.startswith("hub:"))
    found: dict[str, dict[str, list[File]]] = {}
    for part, files in (corpus_files(spec.source) if of_files else {}).items():
        for file in files if part != "unused" else ():
            language = next((name for name in file.inner.parent.parts if part_named(name) is None), "")
            found.setdefault(language, {each: [] for each in PARTS})[part].append(file)
    if len(found) < 2 or "" in found:
        beside = next((file.name for files in found.get("", {}).values() for file in files), "")
        more = f" beside {beside}" if beside and len(found) > 1 else ""
        raise SpecError(
            [
                f"[corpus] language_temperature needs a folder with one for each language, as en/train.parquet and "
                f"de/train.parquet are; {spec.source!r} has {', '.join(sorted(filter(None, found))) or 'none'}{more}"
            ]
        )
    return dict(sorted(found.items()))


def shares(tokens: Mapping[str, int], temperature: float) -> dict[str, float]:
    """p_l of each language, from its tokens n_l."""
    weights = {language: count ** (1 / temperature) for language, count in tokens.items()}
    return {language: weight / sum(weights.values()) for language, weight in weights.items()}


def sampled(sizes: Sequence[int], tokens: int, seed: Sequence[int]) -> Iterator[int]:
    """Documents by index, pass after pass, each in a random order of its own, until so many tokens are reached."""
    number = taken = 0
    while taken < tokens:
        for i in np.random.default_rng([*seed, number]).permutation(len(sizes)):
            yield int(i)
            taken += sizes[i]
            if taken >= tokens:
                return
        number += 1


def interleaved(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The blocks of all parts, each in its order, so that every beginning has them in their proportions."""
    positions = np.concatenate([(np.arange(len(part)) + 0.5) / max(1, len(part)) for part in parts])
    return np.concatenate(parts)[np.argsort(positions, kind="stable")]


def read_languages(spec: CorpusSpec, tokenizer: PreTrainedTokenizerBase, progress: Say) -> dict[str, Language]:
    """The languages of a corpus, tokenised. Raises SpecError with every language that has no text to train on."""
    found: dict[str, Language] = {}
    problems: list[str] = []
    for language, parts in languages_of(spec).items():
        try:
            source = distinct(spec, open_files(spec, parts), progress)
            train, held_out = listed(spec, source)
        except SpecError as error:
            problems += [f"{problem} (language {language})" for problem in error.problems]
            continue
        tokens = tokenizer(train, add_special_tokens=False, verbose=False)["input_ids"]
        found[language] = Language(train, tokens, held_out, source.near_duplicates)
    if problems:
        raise SpecError(problems)
    counts = {language: each.num_tokens for language, each in found.items()}
    assert spec.language_temperature is not None
    total = spec.max_tokens or sum(counts.values())
    for number, (language, share) in enumerate(shares(counts, spec.language_temperature).items()):
        sizes = [len(ids) for ids in found[language].tokens]
        found[language].order[:] = sampled(sizes, round(share * total), (SEED, number))
    lines = (f"{language} {each.num_tokens:,} -> {each.num_sampled:,}" for language, each in found.items())
    progress(f"corpus: tokens by language at temperature {spec.language_temperature:g}: {', '.join(lines)}")
    return found


def mixed_texts(spec: CorpusSpec, tokenizer: PreTrainedTokenizerBase, progress: Say) -> list[str]:
    """The train texts of all languages, sampled by their tokens under this tokenizer."""
    languages = read_languages(spec, tokenizer, progress).values()
    return [each.texts[i] for each in languages for i in each.order]


def mixed_blocks(
    spec: CorpusSpec, tokenizer: PreTrainedTokenizerBase, held_out_tokens: int, progress: Say
) -> tuple[dict[str, np.ndarray], CorpusFacts]:
    """Blocks of `train`, sampled, and of `held_out`, as much of each language and `held_out_tokens` at the most.

    What they are made of comes with them.

    Raises SpecError with every language that has less than one block to train on.
    """
    languages = read_languages(spec, tokenizer, progress)
    length, limit = spec.sequence_length, held_out_tokens // len(languages)
    train = {
        language: pack((each.tokens[i] for i in each.order if each.tokens[i]), tokenizer, length)
        for language, each in languages.items()
    }
    if empty := [language for language, blocks in train.items() if not len(blocks)]:
        raise SpecError(
            [
                f"[corpus] source {spec.source!r}: the share of {language} ({languages[language].num_sampled:,} of "
                f"{languages[language].num_tokens:,} tokens) is shorter than one block of {length} tokens"
                for language in empty
            ]
        )
    held_out = [pack(tokenised(e.held_out, tokenizer, limit, progress), tokenizer, length) for e in languages.values()]
    facts = CorpusFacts(
        texts=sum(len(each.texts) for each in languages.values()),
        held_out_texts=sum(len(each.held_out) for each in languages.values()),
        near_duplicates=sum(each.near_duplicates for each in languages.values()),
        sampled=True,
        unknown={language: unknown_share(each.tokens, tokenizer) for language, each in languages.items()},
    )
    return {"train": interleaved(list(train.values())), "held_out": interleaved(held_out)}, facts

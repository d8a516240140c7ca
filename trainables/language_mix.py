"""A corpus of several languages, mixed so that small ones are not drowned: sampled with a temperature.

Of n_l tokens of language l, the mix takes a share p_l proportional to n_l^(1/T) (XLM-R, arXiv:1911.02116, section 3.1,
whose exponent 0.3 is T = 3.3; T = 1 keeps the proportions). All shares together make as many tokens as are asked for,
so that a small language goes through its documents several times, in another order and so cut into other blocks each
time, and a large one is subsampled. A block holds one language; blocks are interleaved, so that every beginning of the
mix is mixed alike. Held-out text is taken as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from trainables.corpus_texts import CorpusSpec, Progress, files_texts, text_files
from trainables.packing import pack, tokenised

SEED = 0
"""Of the order of documents; a trial's order of blocks has the trial's seed."""


def languages_of(spec: CorpusSpec) -> dict[str, list[Path]]:
    """Language -> its text files, by the folders right below the source. Raises SpecError where there are not two."""
    root = Path(spec.source).expanduser()
    found: dict[str, list[Path]] = {}
    for path in [] if spec.source == "docs" or spec.source.startswith("hub:") else text_files(spec.source):
        parts = path.relative_to(root).parts
        found.setdefault(parts[0] if len(parts) > 1 else "", []).append(path)
    if len(found) < 2 or "" in found:
        beside = f" beside {found[''][0].name}" if "" in found and len(found) > 1 else ""
        raise SpecError(
            [
                f"[corpus] language_temperature needs a folder with one for each language, as en/train.parquet and "
                f"de/train.parquet are; {spec.source!r} has {', '.join(sorted(filter(None, found))) or 'none'}{beside}"
            ]
        )
    return found


def shares(tokens: Mapping[str, int], temperature: float) -> dict[str, float]:
    """p_l of each language, from its tokens n_l."""
    weights = {language: count ** (1 / temperature) for language, count in tokens.items()}
    return {language: weight / sum(weights.values()) for language, weight in weights.items()}


def sampled(documents: Sequence[list[int]], tokens: int, seed: Sequence[int]) -> Iterator[list[int]]:
    """Documents in random order, pass after pass, each in an order of its own, until so many tokens are reached."""
    number = taken = 0
    while taken < tokens:
        for i in np.random.default_rng([*seed, number]).permutation(len(documents)):
            yield documents[i]
            taken += len(documents[i])
            if taken >= tokens:
                return
        number += 1


def interleaved(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The blocks of all parts, each in its order, so that every beginning has them in their proportions."""
    positions = np.concatenate([(np.arange(len(part)) + 0.5) / max(1, len(part)) for part in parts])
    return np.concatenate(parts)[np.argsort(positions, kind="stable")]


def mixed_blocks(
    spec: CorpusSpec, tokenizer: PreTrainedTokenizerBase, held_out_tokens: int, progress: Progress
) -> dict[str, np.ndarray]:
    """Blocks of `train`, sampled, and of `held_out`, as much of each language and `held_out_tokens` at the most.

    Raises SpecError with every language that has no text to train on, or less than one block of it.
    """
    assert spec.language_temperature is not None
    documents: dict[str, list[list[int]]] = {}
    held_out: list[np.ndarray] = []
    files_of = languages_of(spec)
    problems: list[str] = []
    for language, files in files_of.items():
        try:
            train, apart = files_texts(spec, files)
        except SpecError as error:
            problems += [f"{problem} (language {language})" for problem in error.problems]
            continue
        documents[language] = list(tokenised(train, tokenizer, None, progress))
        limit = held_out_tokens // len(files_of)
        held_out.append(pack(tokenised(apart, tokenizer, limit, progress), tokenizer, spec.sequence_length))
    if problems:
        raise SpecError(problems)
    tokens = {language: sum(map(len, each)) for language, each in documents.items()}
    wanted = shares(tokens, spec.language_temperature)
    total = spec.max_tokens or sum(tokens.values())
    parts = {
        language: pack(sampled(each, round(wanted[language] * total), (SEED, number)), tokenizer, spec.sequence_length)
        for number, (language, each) in enumerate(documents.items())
    }
    if empty := [language for language, blocks in parts.items() if not len(blocks)]:
        raise SpecError(
            [
                f"[corpus] source {spec.source!r}: the share of {language} ({round(wanted[language] * total):,} of "
                f"{tokens[language]:,} tokens) is shorter than one block of {spec.sequence_length} tokens"
                for language in empty
            ]
        )
    lines = (f"{language} {tokens[language]:,} -> {round(wanted[language] * total):,}" for language in documents)
    progress(f"corpus: tokens by language at temperature {spec.language_temperature:g}: {', '.join(lines)}")
    return {"train": interleaved(list(parts.values())), "held_out": interleaved(held_out)}

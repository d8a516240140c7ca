"""From text to blocks of token ids: tokenised once, packed, memory-mapped, in an order that is a function of a seed.

A block is [CLS] w ... [SEP] w ... [SEP] of exactly `sequence_length` tokens: documents follow one another with a
separator between them, so that no position is padding and every block weighs the same in every loss.
"""

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from trainables.cache import cache_folder, digest, digest_files, new_folder
from trainables.docs import docs_table, docs_texts

Progress = Callable[[str], None]
HELD_OUT_EVERY = 50  # one text in fifty is held out of a corpus that has no split of its own
HELD_OUT_BLOCKS = 512
TEXT_SUFFIXES = (".txt", ".jsonl", ".parquet")
PART_OF_WORD = {"valid": "held_out", "validation": "held_out", "dev": "held_out", "held": "held_out", "test": "test"}


@dataclass(frozen=True)
class CorpusSpec:
    """Where the text comes from and how it is cut.

    source: "docs" | a file or folder of .txt (one text a line), .jsonl, .parquet | "hub:owner/name".
    max_tokens: word pieces to keep at the most (None: all).
    """

    source: str = "docs"
    sequence_length: int = 128
    text_column: str = "text"
    subset: str | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, eq=False)
class Corpus:
    """Prepared blocks (num_blocks, sequence_length), memory-mapped and read-only, and how to mask them."""

    train: np.ndarray
    held_out: np.ndarray
    vocab_size: int
    mask_token_id: int | None
    special_ids: tuple[int, ...]
    digest: str

    @property
    def train_tokens(self) -> int:
        """Tokens of one epoch."""
        return int(self.train.size)


def prepare_corpus(
    spec: CorpusSpec, tokenizer: PreTrainedTokenizerBase, progress: Progress = lambda line: None
) -> Path:
    """Tokenise and pack a corpus once; the folder is keyed by content, tokenizer and cut.

    Raises SpecError for a source that cannot be found, has no text, or is shorter than one block.
    """
    key = digest(3, source_digest(spec, progress), tokenizer_digest(tokenizer), spec.sequence_length, spec.max_tokens)
    folder = cache_folder() / "corpora" / key
    if (folder / "meta.json").is_file():
        return folder
    train, held_out = read_texts(spec, progress)
    with new_folder(folder) as unfinished:
        counts = {}
        for name, texts, limit in (
            ("train", train, spec.max_tokens),
            ("held_out", held_out, HELD_OUT_BLOCKS * spec.sequence_length),
        ):
            blocks = pack(tokenised(texts, tokenizer, limit, progress), tokenizer, spec.sequence_length)
            if not len(blocks):
                raise SpecError(
                    [
                        f"[corpus] source {spec.source!r}: the {name} part is shorter than one block of "
                        f"{spec.sequence_length} tokens ({len(texts)} texts); give more text or cut sequence_length"
                    ]
                )
            np.save(unfinished / f"{name}.npy", blocks)
            counts[name] = len(blocks)
        meta = {
            "source": spec.source, "sequence_length": spec.sequence_length, "blocks": counts,
            "vocab_size": len(tokenizer), "mask_token_id": tokenizer.mask_token_id,
            "special_ids": sorted(tokenizer.all_special_ids),
        }  # fmt: skip
        (unfinished / "meta.json").write_text(json.dumps(meta, indent=1))
    return folder


def open_corpus(folder: Path) -> Corpus:
    """Map a prepared corpus into memory; nothing is read yet, and every process of a node shares one copy."""
    meta = json.loads((folder / "meta.json").read_text())
    return Corpus(
        train=np.load(folder / "train.npy", mmap_mode="r"),
        held_out=np.load(folder / "held_out.npy", mmap_mode="r"),
        vocab_size=meta["vocab_size"],
        mask_token_id=meta["mask_token_id"],
        special_ids=tuple(meta["special_ids"]),
        digest=folder.name,
    )


def source_digest(spec: CorpusSpec, progress: Progress) -> str:
    """What the text is, without reading it twice: the docs table's key, the files' contents, the hub's name."""
    if spec.source == "docs":
        return docs_table(progress).parent.name
    if spec.source.startswith("hub:"):
        return digest(spec.source, spec.subset, spec.text_column)
    return digest(digest_files(text_files(spec.source)), spec.text_column)


def text_files(source: str) -> list[Path]:
    """The text files of a file or folder. Raises SpecError when there is none."""
    path = Path(source).expanduser()
    if not path.exists():
        raise SpecError(
            [f"[corpus] source {source!r}: no such file or folder; 'docs' needs no files, the hub is 'hub:owner/name'"]
        )
    found = sorted(p for p in path.rglob("*") if p.suffix in TEXT_SUFFIXES) if path.is_dir() else [path]
    if not found or any(p.suffix not in TEXT_SUFFIXES for p in found):
        raise SpecError([f"[corpus] source {source!r}: expected files ending in {', '.join(TEXT_SUFFIXES)}"])
    return found


def part_of(path: Path) -> str:
    """train | held_out | test, by the first word of a file's name: valid-0.txt, dev.jsonl, test_1.parquet, ..."""
    return PART_OF_WORD.get(re.split("[^a-z]", path.stem.lower())[0], "train")


def read_texts(spec: CorpusSpec, progress: Progress) -> tuple[list[str], list[str]]:
    """(train texts, held-out texts); of a folder, `part_of` says which files train; a single file trains."""
    if spec.source == "docs":
        return docs_texts("train", progress), docs_texts("dev", progress)
    if spec.source.startswith("hub:"):
        return every_fiftieth(hub_texts(spec))
    files = text_files(spec.source)
    train = [path for path in files if part_of(path) == "train"] if len(files) > 1 else files
    held_out = [path for path in files if path not in train and part_of(path) == "held_out"]
    if not train:
        raise SpecError([f"[corpus] source {spec.source!r}: only validation and test files, nothing to train on"])
    texts = [text for path in train for text in file_texts(path, spec.text_column)]
    if not texts:
        raise SpecError([f"[corpus] source {spec.source!r}: the corpus is empty, not one text in {len(train)} file(s)"])
    if held_out:
        return texts, [text for path in held_out for text in file_texts(path, spec.text_column)]
    return every_fiftieth(texts)


def every_fiftieth(texts: list[str]) -> tuple[list[str], list[str]]:
    """Hold out one text in fifty, and never a text that also trains."""
    held_out = set(texts[min(HELD_OUT_EVERY // 2, len(texts) - 1) :: HELD_OUT_EVERY])
    return [text for text in texts if text not in held_out], sorted(held_out)


def hub_texts(spec: CorpusSpec) -> list[str]:
    """The train split of a hub dataset, through the `datasets` library; no code of the repository is run."""
    import datasets

    try:
        table = datasets.load_dataset(spec.source.removeprefix("hub:"), spec.subset, split="train")
    except (OSError, ValueError, datasets.exceptions.DatasetNotFoundError) as error:
        raise SpecError([f"[corpus] source {spec.source!r}: the hub did not give it: {error}"]) from error
    if spec.text_column not in table.column_names:
        names = ", ".join(table.column_names)
        raise SpecError([f"[corpus] text_column {spec.text_column!r}: {spec.source} has the columns {names}"])
    return [text for text in table[spec.text_column] if text and text.strip()]


def file_texts(path: Path, column: str) -> Iterator[str]:
    """The non-empty texts of one file, in its order."""
    read = {".txt": txt_texts, ".jsonl": jsonl_texts, ".parquet": parquet_texts}[path.suffix]
    try:
        yield from (text for text in read(path, column) if text and text.strip())
    except (UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise SpecError([f"[corpus] {path.name} cannot be read: {error}"]) from error


def txt_texts(path: Path, column: str) -> Iterator[str]:
    """One text a line."""
    with path.open(encoding="utf-8") as file:
        yield from (line.strip() for line in file)


def jsonl_texts(path: Path, column: str) -> Iterator[str | None]:
    """One object a line."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = json.loads(line)[column]
            except (json.JSONDecodeError, KeyError, TypeError) as error:
                raise SpecError([f"[corpus] {path.name} line {number}: not a JSON object with {column!r}"]) from error
            if not isinstance(text, str | None):
                raise SpecError([f"[corpus] {path.name} line {number}: {column!r} holds {text!r}, not a text"])
            yield text


def parquet_texts(path: Path, column: str) -> list[str | None]:
    """One row a text."""
    schema = pq.read_schema(path)
    if column not in schema.names:
        raise SpecError([f"[corpus] text_column {column!r}: {path.name} has the columns {', '.join(schema.names)}"])
    kind = schema.field(column).type
    if kind not in (pa.string(), pa.large_string(), pa.string_view()):
        raise SpecError([f"[corpus] text_column {column!r}: in {path.name} it holds {kind}, not text"])
    return pq.read_table(path, columns=[column])[column].to_pylist()


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """Changes with the vocabulary, the normalisation and the special tokens, not with the last call's padding."""
    backend = tokenizer.backend_tokenizer
    if backend.truncation is not None or backend.padding is not None:
        backend = Tokenizer.from_str(backend.to_str())
        backend.no_truncation()
        backend.no_padding()
    return digest(backend.to_str(), sorted(map(str, tokenizer.all_special_tokens)))


def tokenised(
    texts: list[str], tokenizer: PreTrainedTokenizerBase, max_tokens: int | None, progress: Progress, chunk: int = 2000
) -> Iterator[list[int]]:
    """Token ids of each text without special tokens, until `max_tokens` are reached."""
    tokens = 0
    for start in range(0, len(texts), chunk):
        batch = tokenizer(texts[start : start + chunk], add_special_tokens=False, verbose=False)["input_ids"]
        for ids in batch:
            if ids:
                yield ids
                tokens += len(ids)
            if max_tokens is not None and tokens >= max_tokens:
                return
        if start // chunk % 10 == 9:
            progress(f"corpus: {start + len(batch):,} of {len(texts):,} texts, {tokens:,} tokens")


def pack(documents: Iterable[list[int]], tokenizer: PreTrainedTokenizerBase, sequence_length: int) -> np.ndarray:
    """Blocks (num_blocks, sequence_length) of uint16 or int32; what does not fill the last block is left out."""
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    if first is None or last is None:
        raise SpecError(["[teacher] its tokenizer has no [CLS] or [SEP] token: not an encoder of the BERT kind"])
    stream = np.fromiter((i for ids in documents for i in (*ids, last)), dtype=np.int32)
    inner = sequence_length - 2
    body = stream[: len(stream) // inner * inner].reshape(-1, inner)
    blocks = np.empty((len(body), sequence_length), dtype=np.uint16 if len(tokenizer) <= 2**16 else np.int32)
    blocks[:, 0], blocks[:, 1:-1], blocks[:, -1] = first, body, last
    return blocks


def batch_indices(num_blocks: int, batch_size: int, step: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(blocks, epochs): which blocks make the batch of a step (counted from 0), and in which epoch each is met.

    Epochs are permutations drawn from (seed, epoch). A pure function: a resumed trial goes on with the batch it would
    have seen.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    blocks, epochs = np.empty(batch_size, dtype=np.int64), positions // num_blocks
    for epoch in np.unique(epochs):
        chosen = epochs == epoch
        blocks[chosen] = epoch_order(seed, int(epoch), num_blocks)[positions[chosen] % num_blocks]
    return blocks, epochs


def blocks_visited(num_blocks: int, train_blocks: int, seed: int) -> np.ndarray:
    """The blocks, ascending, that a trial meets within `train_blocks` blocks of training."""
    if train_blocks >= num_blocks:
        return np.arange(num_blocks)
    return np.sort(epoch_order(seed, 0, num_blocks)[:train_blocks])


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, num_blocks: int) -> np.ndarray:
    """The permutation of an epoch; kept, for every step of the epoch asks for it again."""
    return np.random.default_rng([seed, epoch]).permutation(num_blocks)

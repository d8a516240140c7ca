"""The words of one tokenizer from those of another: which old pieces the embedding of each new one starts from.

A piece that both have in the same form keeps its embedding; any other gets the mean of the old pieces that its text
falls into (fast vocabulary transfer, Gee et al. 2022, arXiv:2402.09977). One whose text the old tokenizer cannot read
has none, and is drawn. Special tokens follow their roles, for their names differ.

The form of a piece is its text, and whether a word begins with it. WordPiece marks the pieces that do not (##ing),
SentencePiece and byte-level BPE those that do, by a sign for the space before them (▁the, Ġthe).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from transformers import PreTrainedTokenizerBase

from spaces.errors import SpecError
from trainables.models.vocabulary import SPELLED_BYTES
from trainables.text.shards import plain

SPACE = "▁"
"""What SentencePiece writes for a space."""
ROLES = {"pad": ("pad",), "unk": ("unk",), "mask": ("mask",), "cls": ("cls", "bos"), "bos": ("bos", "cls"),
         "sep": ("sep", "eos"), "eos": ("eos", "sep")}  # fmt: skip
"""Special tokens, and whose place in another tokenizer each takes: encoders begin and end a text with either."""


@dataclass(frozen=True)
class Form:
    """What a piece stands for."""

    text: str
    begins: bool
    """Whether a word begins with it."""
    part: bytes = b""
    """Of a character, where it is no whole ones and so has no text."""


@dataclass(frozen=True)
class Transfer:
    """Where the embeddings of new pieces come from."""

    rows: tuple[tuple[int, ...], ...]
    """The old ids for each new id; none for a piece that is drawn."""
    same: int
    """How many pieces both tokenizers have in the same form, or in the same role."""

    @property
    def drawn(self) -> int:
        """How many start at random."""
        return sum(not row for row in self.rows)

    @property
    def text(self) -> str:
        """For a person."""
        mean = len(self.rows) - self.same - self.drawn
        return (
            f"{len(self.rows):,} pieces, of which the teacher's tokenizer has {self.same:,}; {mean:,} start from the "
            f"mean of its pieces that their text falls into, {self.drawn:,} at random"
        )


def transfer(old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase) -> Transfer:
    """Where each piece of a new tokenizer starts. Raises SpecError for one whose pieces have no known form."""
    read_old, read_new = form_of(old), form_of(new)
    special, special_new = set(old.all_special_ids), set(new.all_special_ids)
    pieces = {number: piece for piece, number in old.get_vocab().items()}
    forms: dict[Form, int] = {}
    for number in sorted(pieces.keys() - special):
        if (form := read_old(pieces[number])) is not None:
            forms.setdefault(form, number)
    rows: list[tuple[int, ...]] = [()] * size_of(new)
    for number, old_number in roles_of(old, new).items():
        rows[number] = (old_number,)
    left: dict[int, Form] = {}
    for piece, number in new.get_vocab().items():
        form = None if number in special_new else read_new(piece)
        if form is not None and form in forms:
            rows[number] = (forms[form],)
        elif form is not None and form.text:
            left[number] = form
    same = sum(map(bool, rows))
    for number, row in zip(left, split(list(left.values()), old, forms, read_old), strict=True):
        rows[number] = row
    return Transfer(tuple(rows), same)


def size_of(tokenizer: PreTrainedTokenizerBase) -> int:
    """Rows of a table of embeddings for its tokens."""
    return max(tokenizer.get_vocab().values()) + 1


def roles_of(old: PreTrainedTokenizerBase, new: PreTrainedTokenizerBase) -> dict[int, int]:
    """Special tokens of the new tokenizer to those of the old that have their roles."""
    found: dict[int, int] = {}
    for role, others in ROLES.items():
        number = getattr(new, f"{role}_token_id")
        known = [each for name in others if (each := getattr(old, f"{name}_token_id")) is not None]
        if number is not None and known:
            found.setdefault(number, known[0])
    return found


def token_ids(names: Sequence[str], tokenizer: PreTrainedTokenizerBase) -> dict[str, int | None]:
    """The ids of special tokens by their keys in configs, such as pad_token_id; names: the keys."""
    found: dict[str, int | None] = {}
    for name in names:
        others = ROLES.get(name.removesuffix("_token_id"), ())
        known = [number for other in others if (number := getattr(tokenizer, f"{other}_token_id")) is not None]
        found[name] = known[0] if known else None
    return found


def split(
    wanted: Sequence[Form], old: PreTrainedTokenizerBase, forms: Mapping[Form, int], read: Callable[[str], Form | None]
) -> list[tuple[int, ...]]:
    """The old ids that the text of each form falls into, without what the old tokenizer does not know.

    A tokenizer takes a text alone for the beginning of one. Its first piece gives way to that of the same text which
    stands where the form does.
    """
    backend, unknown = plain(old), old.unk_token_id
    found: list[list[int]] = []
    for encoded in backend.encode_batch([form.text for form in wanted], add_special_tokens=False):
        known = [number for number in encoded.ids if number != unknown]
        found.append([number for number in known if read(str(backend.id_to_token(number))) != Form("", True)])
    for form, ids in zip(wanted, found, strict=True):
        first = read(str(backend.id_to_token(ids[0]))) if ids else None
        if first is not None and (there := forms.get(Form(first.text, form.begins))) is not None:
            ids[0] = there
    return [tuple(ids) for ids in found]


def form_of(tokenizer: PreTrainedTokenizerBase) -> Callable[[str], Form | None]:
    """How its pieces are read; None for one that has no form. Raises SpecError for other kinds."""
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    kind = raw["model"]["type"]
    if kind == "WordPiece":
        return partial(of_words, prefix=raw["model"]["continuing_subword_prefix"])
    if kind == "BPE" and "ByteLevel" in {step["type"] for step in steps_of(raw)}:
        return of_bytes
    if kind == "Unigram" or (kind == "BPE" and any(piece.startswith(SPACE) for piece in raw["model"]["vocab"])):
        return of_sentences
    raise SpecError(
        [f"only WordPiece, Unigram and BPE over bytes or with {SPACE} for a space have pieces that are known by their "
         f"text, this one is {kind}"]
    )  # fmt: skip


def steps_of(raw: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The splitters and decoders of a tokenizer.json."""
    found: list[Mapping[str, Any]] = []
    for part, inner in (("pre_tokenizer", "pretokenizers"), ("decoder", "decoders")):
        outer = raw.get(part) or {}
        found += [step for step in outer.get(inner, [outer]) if step]
    return found


def of_words(piece: str, prefix: str) -> Form:
    """The form of a piece of WordPiece."""
    inside = piece.startswith(prefix) and piece != prefix
    return Form(piece.removeprefix(prefix) if inside else piece, not inside)


def of_sentences(piece: str) -> Form:
    """The form of a piece of SentencePiece, which may spell a byte."""
    if piece in SPELLED_BYTES:
        number = int(piece[1:-1], 16)
        return Form(chr(number), False) if number < 128 else Form("", False, bytes([number]))
    return Form(piece.removeprefix(SPACE).replace(SPACE, " "), piece.startswith(SPACE))


def of_bytes(piece: str) -> Form | None:
    """The form of a piece of bytes, which stand for characters of their own; None for what is added beside them."""
    if not all(sign in BYTE_OF for sign in piece):
        return None
    raw = bytes(BYTE_OF[sign] for sign in piece)
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return Form("", False, raw)
    return Form(text.removeprefix(" "), text.startswith(" "))


def byte_signs() -> dict[str, int]:
    """The character that byte-level BPE writes for each byte, back to the byte.

    Printable ones stand for themselves; the others, in their order, are written as those from 256 on.
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [number for number in range(256) if number not in printable]
    signs = {chr(number): number for number in printable}
    return signs | {chr(256 + place): number for place, number in enumerate(others)}


BYTE_OF = byte_signs()

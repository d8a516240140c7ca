"""The one door for tokenizers: read from a model's folder, and written so that others can read them."""

import json
from operator import itemgetter
from pathlib import Path

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from spaces.errors import SpecError

FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model")
TYPES = "token_type_ids"
SAMPLE = (
    "The Quick BROWN fox, it's 3.14 km from Zürich to São Paulo.",
    "ÀÉÎõü ÅNGSTRÖM Straße İstanbul Łódź",
    "URL: https://example.com/a_b?c=D&e=10%25",
    "Привет, Мир! ΑΒΓ αβγ",
    "日本語のテキスト。中文文本",
    "tab\tand\nline  spaces",
)
"""Capitals, accents, signs, scripts and spaces: what normalizers and splitters differ in."""


def load_tokenizer(folder: Path, vocab_size: int | None, max_positions: int) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a local folder, which cuts no longer than the model's positions.

    vocab_size: words of the model; None: the tokenizer stands alone.
    One that names no padding token gets the model's, without which a student cannot be given two texts at once.
    Raises SpecError: none, one without a fast version, or one with more tokens than the model.
    """
    if not any((folder / name).is_file() for name in FILES):
        # transformers would make one of five special tokens, to which every word is unknown.
        raise SpecError([f"no tokenizer in that folder, expected one of {', '.join(FILES)}"])
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # every class of tokenizer has its own way to fail
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise SpecError([f"its tokenizer{named_class(folder)} cannot be loaded: {reason}"]) from error
    if not tokenizer.is_fast:
        raise SpecError([
            f"its tokenizer {type(tokenizer).__name__} has no fast version, which students are made with; save one "
            "as tokenizer.json beside the model, or choose a teacher that has one"
        ])  # fmt: skip
    tokenizer.init_kwargs.pop("auto_map", None)
    tokens = len(tokenizer)
    if vocab_size is not None and tokens > vocab_size:
        raise SpecError([f"{tokens} tokens in the tokenizer, {vocab_size} in the model"])
    last, number = max(tokenizer.get_vocab().items(), key=itemgetter(1))
    if vocab_size is not None and number >= vocab_size:
        raise SpecError([f"token {last!r} has number {number} in the tokenizer, the model's last is {vocab_size - 1}"])
    tokenizer.model_max_length = min(tokenizer.model_max_length, max_positions)
    if tokenizer.pad_token is None and (number := padding_of(folder)) is not None and number < tokens:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(number)
    return tokenizer


def padding_of(folder: Path) -> int | None:
    """The id with which the model of a folder pads, by its config.json."""
    try:
        number = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("pad_token_id")
    except (OSError, ValueError, AttributeError):
        return None
    return number if isinstance(number, int) else None


def named_class(folder: Path) -> str:
    """' X' for the class that the folder names."""
    try:
        name = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("tokenizer_class")
    except (OSError, ValueError, AttributeError):
        return ""
    return f" {name}" if name else ""


def save_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path, *, types: bool = True) -> None:
    """Write a tokenizer so that transformers 4 and 5, and what is built on them, load it.

    transformers 5 calls the class without a family TokenizersBackend, a name that only it knows, and gives no token
    types with it, where transformers 4 does unless it is told what the model reads. types: whether the model beside it
    takes token types; a tokenizer of another family may give some, which its call would refuse.
    """
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    written = dict(config)
    if config.get("tokenizer_class") == "TokenizersBackend":
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        config["model_input_names"] = tokenizer.model_input_names
    if not types and TYPES in tokenizer.model_input_names:
        config["model_input_names"] = [name for name in tokenizer.model_input_names if name != TYPES]
    if config != written:
        path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def lowers(backend: Tokenizer) -> bool:
    """Whether a tokenizer reads capitals as small letters."""
    return backend.normalizer is not None and backend.normalizer.normalize_str("A") == "a"


def read_otherwise(tokenizer: PreTrainedTokenizerBase, folder: Path, texts: list[str] | None = None) -> str:
    """What transformers cuts in another way than the folder's tokenizer.json says, in words; empty when nothing.

    It builds the tokenizers of some families anew from tokenizer_config.json: a cased one without
    "do_lower_case": false there comes out in lower case, and a splitter of its own is lost.
    """
    path = folder / "tokenizer.json"
    if not path.is_file():
        return ""
    used_here, own = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()), Tokenizer.from_file(str(path))
    for each in (used_here, own):  # a call of a tokenizer leaves its settings behind, and they are saved with it
        each.no_truncation()
        each.no_padding()
    for text in [*SAMPLE, *(texts or ())]:
        used, written = (each.encode(text, add_special_tokens=False).tokens for each in (used_here, own))
        if used != written:
            first = next(i for i in range(len(used) + 1) if used[: i + 1] != written[: i + 1])
            lower = lowers(tokenizer.backend_tokenizer) and not lowers(own)
            mend = '; "do_lower_case": false in tokenizer_config.json keeps capitals' if lower else ""
            return (
                f"transformers cuts {text[:40]!r} into {used[first : first + 4]} where tokenizer.json says "
                f"{written[first : first + 4]}; what transformers cuts is used{mend}"
            )
    return ""

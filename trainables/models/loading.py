"""The one door for trained weights: teacher, source of `pretrain` and `trim`, warm start, a student that is read again.

A folder is read from safetensors only and as its config.json describes it. transformers fills what it does not find
with random numbers and passes over what it does not know; here both are refused, but for what the encoder does not
need: poolers, heads of other tasks, tables of position numbers.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto import modeling_auto
from transformers.utils import logging

from spaces.errors import SpecError, nearest
from trainables.models.encoder import family_of, labels_of, without_pooler
from trainables.models.families import FAMILIES
from trainables.models.sentence_folders import keep_activation

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
FLOATS = {"F64", "F32", "F16", "BF16"}
BUFFERS = ("position_ids", "token_type_ids", "inv_freq", "masked_bias")
"""Ends of names under which older files keep numbers that follow from the config."""
CONVERT = (
    'convert it once, where you trust it: python -c "from transformers import AutoModelForMaskedLM as Model; '
    "Model.from_pretrained('OLD').save_pretrained('NEW')\" (AutoModel for one without a masked-LM head)"
)
FORMATS: dict[str, str] = {
    "adapter_model.safetensors": "{} holds an adapter: merge it into its base model (merge_and_unload) and save that",
    "*.bin": f"{{}} is a pickle, which can run code when it is read and is never loaded: {CONVERT}",
    "*.pt": f"{{}} is a pickle, which can run code when it is read and is never loaded: {CONVERT}",
    "*.pth": f"{{}} is a pickle, which can run code when it is read and is never loaded: {CONVERT}",
    "*.ckpt": f"{{}} is a pickle, which can run code when it is read and is never loaded: {CONVERT}",
    "*.h5": "{} holds weights of TensorFlow: take the model's weights for torch, saved as safetensors",
    "*.msgpack": "{} holds weights of Flax: take the model's weights for torch, saved as safetensors",
    "*.gguf": "{} is a quantised model of llama.cpp: take the model that it was made from",
    "*.onnx": "{} is a graph to run, not weights to train: take the model that it was exported from",
    "*.safetensors": f"{{}} is not called {WEIGHTS}: rename it if it holds all of the model's weights",
}
"""Files that people have instead of model.safetensors, and what can be done; the first that is there is told."""
REFUSED: dict[str, tuple[tuple[Any, ...], str]] = {
    "position_embedding_type": ((None, "absolute"), "transformers reads these positions as absolute ones"),
    "is_decoder": ((None, False), "a decoder sees what stands before a token only"),
    "add_cross_attention": ((None, False), "an encoder reads one sequence"),
    "pruned_heads": ((None, {}, []), "transformers no longer builds layers with fewer heads than the others"),
    "quantization_config": ((None,), "quantised weights cannot be copied into students; take the model before it"),
}
"""Keys of config.json: the values with which a model is read as it was trained, and why no other is read."""

TYPES: tuple[tuple[Collection[str], str], ...] = (
    (modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES, ": encoders can, this is an encoder with a decoder"),
    (modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, " yet: an encoder, but a family without a file here; a package "
     "can add it (docs/extending.md)"),
    (modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, ": encoders can, this is a decoder"),
    (modeling_auto.MODEL_MAPPING_NAMES, " yet: a family without a file here; a package can add it (docs/extending.md)"),
)  # fmt: skip
"""Types of transformers, and what is said of one that is no family; the first that has it is told."""


def read_config(folder: Path) -> PretrainedConfig:
    """The config of a local folder. Raises SpecError: none, of a type that is not read, or of a variant that is not.

    A pointer to custom code is neither followed nor handed on to what is made from it. The family is loaded first, for
    it may bring the classes of its models.
    """
    raw = raw_config(folder)
    kind = str(raw.get("model_type", ""))
    if kind not in FAMILIES:
        raise SpecError([f"models of type {kind!r} cannot be distilled{about_type(kind, raw)}"])
    FAMILIES.get(kind)
    variants = [
        f"config.json says {key} {raw[key]!r}: {why}"
        for key, (read, why) in REFUSED.items()
        if raw.get(key) not in read
    ]
    if variants:
        raise SpecError(variants)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    vars(config).pop("auto_map", None)
    if kind not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES:
        config.use_cache = False  # what a decoder keeps for the token that comes next
    return config


def raw_config(folder: Path) -> dict[str, Any]:
    """config.json as it stands. Raises SpecError, which says what lies in the folder instead."""
    try:
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SpecError([f"no config.json in that folder{instead_of_config(folder)}"]) from None
    except (OSError, ValueError) as error:
        raise SpecError([f"no readable config.json in that folder ({error})"]) from error
    if not isinstance(raw, dict):
        raise SpecError([f"config.json holds a {type(raw).__name__}, not the description of a model"])
    return raw


def instead_of_config(folder: Path) -> str:
    """What a folder without a config.json is, as far as that can be told."""
    if inner := sorted(path.parent.name for path in folder.glob("*/config.json")):
        own = " (of a sentence-transformers model)" if (folder / "modules.json").is_file() else ""
        return f"; the model{own} is in {', '.join(map(repr, inner))}: give that folder"
    if (folder / "adapter_config.json").is_file():
        return "; it holds an adapter: merge it into its base model (merge_and_unload) and save that"
    return f"; {found}" if (found := other_weights(folder)) else ""


def about_type(kind: str, raw: Mapping[str, Any]) -> str:
    """What a type that is not among the families is, and what can be done."""
    known = f"Known: {', '.join(FAMILIES)}"
    for names, words in TYPES:
        if kind in names:
            return f"{words}. {known}"
    if "auto_map" in raw:
        return f": this one brings code of its own, which is never run. {known}"
    return f" yet.{nearest(kind, FAMILIES)} {known}"


def other_weights(folder: Path) -> str:
    """What the folder has instead of safetensors, and what can be done; empty when there is nothing."""
    for pattern, words in FORMATS.items():
        every = {path.name for path in [*folder.glob(pattern), *folder.glob(f"onnx/{pattern}")]}
        found = sorted(every - {WEIGHTS})  # which is told of elsewhere
        if found:
            return words.format(", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else ""))
    return ""


def weight_files(folder: Path) -> list[Path]:
    """model.safetensors, or the parts that its index names. Raises SpecError: none, or a part that is not there."""
    adapter = folder / "adapter_config.json"
    if adapter.is_file() and ((folder / WEIGHTS).is_file() or (folder / INDEX).is_file()):
        raise SpecError(
            [f"{adapter.name} lies beside the weights: whether an adapter is to be added cannot be told. Merge it "
             "(merge_and_unload) and save that, or take the adapter's files out of the folder"]
        )  # fmt: skip
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    if not (folder / INDEX).is_file():
        raise SpecError([f"no *.safetensors in that folder{f'; {found}' if (found := other_weights(folder)) else ''}"])
    try:
        names = sorted({str(name) for name in json.loads((folder / INDEX).read_text())["weight_map"].values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise SpecError([f"{INDEX} cannot be read ({error!r})"]) from error
    outside = [name for name in names if Path(name).name != name or not name.endswith(".safetensors")]
    if outside:
        raise SpecError([f"{INDEX} names {outside[0]!r}, which is no *.safetensors of that folder"])
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise SpecError([f"{len(missing)} of {len(names)} files of {INDEX} are not there, the first is {missing[0]}"])
    return [folder / name for name in names]


def read_headers(files: list[Path]) -> dict[str, str]:
    """Name -> type of number (F32, BF16, I64) of every weight. Raises SpecError for a damaged file."""
    found: dict[str, str] = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                found |= {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118 - no mapping
        except (SafetensorError, OSError, ValueError) as error:
            raise SpecError([f"{path.name} {damage(path, error)}"]) from error
    return found


def damage(path: Path, error: Exception) -> str:
    """What is wrong with a safetensors file, and what can be done."""
    with path.open("rb") as file:
        start = file.read(40)
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS, not the weights: run `git lfs pull` in its repository"
    if start.startswith((b"PK", b"\x80")):
        return f"is a pickle under another name, which is never loaded: {CONVERT}"
    return f"is damaged or incomplete, {path.stat().st_size:,} bytes ({error}): fetch it again"


def has_lm_head(folder: Path, config: PretrainedConfig) -> bool:
    """Whether the safetensors hold the weights of a masked-LM head; transformers would silently make random ones."""
    return family_of(config).head_marker in read_headers(weight_files(folder))


def labels_in(folder: Path, config: PretrainedConfig) -> int:
    """Outputs of the classification head in a folder; 0 for none that could be distilled."""
    return labels_of(config, read_headers(weight_files(folder)))


def load_model(folder: Path) -> PreTrainedModel:
    """A trained model of a local folder in float32, with its masked-LM or its classification head, if any.

    Raises SpecError for a folder that does not hold all of the encoder as its config describes it.
    """
    config, headers = read_config(folder), read_headers(weight_files(folder))
    options = {
        "config": config, "dtype": torch.float32, "use_safetensors": True, "trust_remote_code": False,
        "local_files_only": True, "ignore_mismatched_sizes": True, "output_loading_info": True,
    }  # fmt: skip
    with quiet_transformers():  # what matters of its report is said below
        if labels := labels_of(config, headers):
            if labels == 1:
                keep_activation(folder, config)
            model, info = AutoModelForSequenceClassification.from_pretrained(folder, **options)
        elif family_of(config).head_marker in headers:
            model, info = AutoModelForMaskedLM.from_pretrained(folder, **options)
        else:
            model, info = AutoModel.from_pretrained(folder, **without_pooler(config), **options)
    if problems := [*misfits(model, info, headers), *unsound(model, headers)]:
        raise SpecError(problems)
    return model


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no report on what was not loaded; the setting before is restored."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def misfits(model: PreTrainedModel, info: Mapping[str, Any], headers: Mapping[str, str]) -> list[str]:
    """What transformers filled in, passed over or cut, as problems for a person."""
    every = list(model.state_dict())
    missing = [name for name in every if name in info["missing_keys"]]
    reshaped = sorted(info["mismatched_keys"])
    strange = sorted(name for name in info["unexpected_keys"] if in_encoder(model, name))
    problems, prefix = [], wrapping(model, missing, headers)
    encoder = f"{model.base_model_prefix}."
    twice = sorted(name for name in headers if name.startswith(encoder) and name.removeprefix(encoder) in headers)
    if twice:
        problems.append(
            f"{len(twice)} weights are in the file twice, with {encoder!r} before their names and without, the first "
            f"is {twice[0]}: save the model that is meant"
        )
    if missing:
        text = f"{len(missing)} of {len(every)} weights are not in the file, the first is {missing[0]}"
        if prefix:
            text += (
                f"; keys in the file begin with {prefix!r}: save the model that is inside, or take that off the keys"
            )
        problems.append(text)
    if strange and not prefix:
        problems.append(
            f"{len(strange)} weights of the file have no place in the {model.config.model_type} that config.json "
            f"describes, the first is {strange[0]}"
        )
    if reshaped:
        name, own, wanted = reshaped[0]
        problems.append(
            f"{len(reshaped)} of {len(every)} weights are of another shape than config.json says, the first is {name}: "
            f"{tuple(own)} in the file, {tuple(wanted)} in the model"
        )
    return problems


def in_encoder(model: PreTrainedModel, name: str) -> bool:
    """Whether a weight that the model does not know stands inside the encoder: not a pooler, a head or a buffer."""
    inside = name.removeprefix(f"{model.base_model_prefix}.")
    children = {child for child, _ in model.base_model.named_children()}
    return inside.partition(".")[0] in children and not inside.endswith(BUFFERS)


def wrapping(model: PreTrainedModel, missing: list[str], headers: Mapping[str, str]) -> str:
    """What keys of the file have before the names of missing weights, such as 'module.'; empty when nothing."""
    encoder = f"{model.base_model_prefix}."
    for name in missing:
        for tail in dict.fromkeys((name, name.removeprefix(encoder))):
            for key in headers:
                if key.endswith(f".{tail}"):
                    return key.removesuffix(tail).removesuffix(encoder)
    return ""


def unsound(model: PreTrainedModel, headers: Mapping[str, str]) -> list[str]:
    """Weights that are no usable numbers."""
    coded = sorted(name for name, kind in headers.items() if kind not in FLOATS and not name.endswith(BUFFERS))
    if coded:
        return [f"{len(coded)} of {len(headers)} weights are stored as {headers[coded[0]]}, the first is {coded[0]}; "
                f"quantised weights are not read: take the model before it"]  # fmt: skip
    broken = [name for name, value in model.state_dict().items() if not bool(torch.isfinite(value).all())]
    if broken:
        return [f"{len(broken)} weights hold NaN or infinite numbers, the first is {broken[0]}"]
    return []

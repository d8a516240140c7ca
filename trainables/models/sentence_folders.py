"""Folders of sentence-transformers: what they say about embeddings, read and written.

modules.json lists the steps, each with a folder of its own; config_sentence_transformers.json has the prompts. Written
is what versions 2 to 6 of the library read; a Dense from 3 on. No code of a folder is run and no pickle is read.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from spaces.errors import SpecError, nearest, unknown
from trainables.models.embedding import (
    ACTIVATIONS,
    POOLINGS,
    Dense,
    Embedder,
    Normalize,
    prompt_tokens,
)
from trainables.models.embedding_spec import EmbeddingSpec

LIBRARY = "sentence_transformers"
MODULES = ("Transformer", "Pooling", "Dense", "Normalize")
FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
"""Keys of a pooling's config before version 6, in the order in which they are put side by side."""
ENDLESS = 10**9
"""Tokenizers without a limit have a larger one."""


def read_embedder(folder: Path, spec: EmbeddingSpec, hidden_size: int, positions: int) -> Embedder:
    """What a model's folder says about embeddings; a bare encoder gets the pooling of the spec, else the mean.

    hidden_size, positions: of its encoder. Raises SpecError with all that is not known or does not fit.
    """
    problems: list[str] = []
    about = read_json(folder / "config_sentence_transformers.json", problems)
    prompts = {name: text for name, text in (about.get("prompts") or {}).items() if text}
    name = spec.prompt or about.get("default_prompt_name")
    if spec.prompt is not None and spec.prompt not in prompts:
        have = f"Known: {', '.join(prompts)}" if prompts else "it has none"
        problems.append(f"the teacher has no prompt {spec.prompt!r}.{nearest(spec.prompt, prompts)} {have}")
    embedder = Embedder(
        longest(folder, positions, problems), prompts=prompts, prompt_name=name if name in prompts else None,
        dims=about.get("truncate_dim"), similarity=about.get("similarity_fn_name") or "cosine",
    )  # fmt: skip
    if (folder / "modules.json").is_file():
        embedder = with_modules(embedder, folder, hidden_size, problems)
        named = " and ".join(embedder.pooling)
        if spec.pooling is not None and not problems and (spec.pooling,) != embedder.pooling:
            problems.append(
                f"its modules.json says pooling {named}: leave [embedding] pooling out, got {spec.pooling!r}"
            )
    else:
        embedder = replace(embedder, pooling=(spec.pooling or "mean",))
    if problems:
        raise SpecError(problems)
    if embedder.prompt and not embedder.include_prompt:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        embedder = replace(embedder, skipped=prompt_tokens(tokenizer, embedder.prompt))
    return embedder


def read_pair_reader(folder: Path, spec: EmbeddingSpec, state: str, positions: int, types: int) -> Embedder:
    """The same of a cross-encoder, written by transformers or as a CrossEncoder of the library: it pools one state.

    state: the pooling that its head reads. types: token types of its encoder. Raises SpecError for a folder or a spec
    that asks for embeddings.
    """
    problems: list[str] = []
    about = read_json(folder / "config_sentence_transformers.json", problems)
    modules = read_json(folder / "modules.json", problems) or []
    kinds = [str(entry.get("type", "")).rpartition(".")[2] for entry in modules]
    if kinds not in ([], ["Transformer"]):
        problems.append(
            f"config.json describes a classifier with one label, which scores pairs, and modules.json says "
            f"{', '.join(kinds)}: one Transformer is what a CrossEncoder has"
        )
    if about.get("default_prompt_name"):
        problems.append("a teacher that scores pairs after a prompt cannot be distilled yet")
    if asked := [name for name, value in asdict(spec).items() if value is not None]:
        problems.append(f"it scores pairs and embeds nothing: leave [embedding] {' and '.join(asked)} out")
    length = longest(folder, positions, problems)
    if problems:
        raise SpecError(problems)
    marks = False
    if types > 1:
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
        marks = 1 in tokenizer("a", "b").get("token_type_ids", ())
    return Embedder(length, pooling=(state,), pairs=True, marks_second=marks)


def keep_activation(folder: Path, config: Any) -> None:
    """What a CrossEncoder makes of a score at last: version 6 keeps it in a file of its own, all read it in the config.

    Without any it is a sigmoid.
    """
    named = read_json(folder / "config_sentence_transformers.json", []).get("activation_fn")
    if named and str(named).startswith("torch.") and not hasattr(config, "sentence_transformers"):
        config.sentence_transformers = {"activation_fn": named}


def lowers_case(folder: Path) -> bool:
    """Whether texts are lowered before the tokenizer sees them, which it need not do itself."""
    return bool(read_json(transformer_config(folder), []).get("do_lower_case"))


def read_json(path: Path, problems: list[str]) -> Any:
    """The content of a file, {} where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} cannot be read: {error}")
        return {}


def transformer_config(folder: Path) -> Path:
    """The config of the library's first module; older versions name it after the family."""
    return next(iter(sorted(folder.glob("sentence_*_config.json"))), folder / "sentence_bert_config.json")


def longest(folder: Path, positions: int, problems: list[str]) -> int:
    """max_seq_length, which version 6 keeps with the tokenizer; no more than the encoder has positions."""
    told = read_json(transformer_config(folder), problems).get("max_seq_length")
    known = told or read_json(folder / "tokenizer_config.json", problems).get("model_max_length")
    return min(int(known), positions) if known and known < ENDLESS else positions


def with_modules(embedder: Embedder, folder: Path, hidden_size: int, problems: list[str]) -> Embedder:
    """With the steps of modules.json."""
    kinds, known = [], len(problems)
    entries = read_json(folder / "modules.json", problems)
    if not isinstance(entries, list) or not all(is_module(entry) for entry in entries):
        problems.append("modules.json must be a list of modules, each with its type and its path inside the folder")
        return embedder
    for entry in entries:
        package, _, kind = str(entry.get("type", "")).rpartition(".")
        if package.partition(".")[0] != LIBRARY or kind not in MODULES:
            problems.append(f"modules.json: {unknown('module', MODULES, str(entry.get('type')))}")
        kinds.append(kind)
    if len(problems) > known:
        return embedder
    if kinds[:2] != ["Transformer", "Pooling"] or {"Transformer", "Pooling"} & set(kinds[2:]) or entries[0]["path"]:
        problems.append(
            f"modules.json must name Transformer (in the folder itself), then Pooling, then Dense and Normalize, "
            f"got {', '.join(kinds) or 'nothing'}"
        )
        return embedder
    pooling, include_prompt = read_pooling(folder / entries[1]["path"], hidden_size, problems)
    steps: list[Dense | Normalize] = []
    width = hidden_size * len(pooling)
    for kind, entry in list(zip(kinds, entries, strict=True))[2:]:
        if kind == "Normalize":
            steps.append(Normalize())
        elif (dense := read_dense(folder / entry["path"], width, problems)) is not None:
            steps.append(dense)
            width = len(dense.weight)
    return replace(embedder, pooling=pooling, include_prompt=include_prompt, steps=tuple(steps))


def module_folders(folder: Path) -> list[Path]:
    """The folders below a model's in which modules.json keeps its further steps."""
    entries = read_json(folder / "modules.json", [])
    return [folder / entry["path"] for entry in entries or () if is_module(entry) and entry["path"]]


def is_module(entry: Any) -> bool:
    """Whether an entry of modules.json has a path that stays in the model's folder."""
    path = Path(entry["path"]) if isinstance(entry, dict) and isinstance(entry.get("path"), str) else None
    return path is not None and not path.is_absolute() and ".." not in path.parts


def read_pooling(folder: Path, hidden_size: int, problems: list[str]) -> tuple[tuple[str, ...], bool]:
    """(names of POOLINGS, whether the prompt's tokens are pooled)."""
    config = read_json(folder / "config.json", problems)
    modes = config.get("pooling_mode") or [mode for flag, mode in FLAGS.items() if config.get(flag)] or ["mean"]
    modes = (modes,) if isinstance(modes, str) else tuple(modes)
    problems += [f"{folder.name}: {unknown('pooling', POOLINGS, mode)}" for mode in modes if mode not in POOLINGS]
    width = config.get("embedding_dimension", config.get("word_embedding_dimension", hidden_size))
    if width != hidden_size:
        problems.append(f"{folder.name} pools states of width {width}, the encoder's have width {hidden_size}")
    return modes, config.get("include_prompt", True)


def read_dense(folder: Path, width: int, problems: list[str]) -> Dense | None:
    """A Dense that reads embeddings of a width."""
    config, known = read_json(folder / "config.json", problems), len(problems)
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if activation not in ACTIVATIONS:
        problems.append(f"{folder.name}: {unknown('activation', ACTIVATIONS, activation)}")
    if config.get("use_residual") or config.get("module_input_name", "sentence_embedding") != "sentence_embedding":
        problems.append(f"{folder.name}: a Dense with a residual, or of token states, is not known")
    if config.get("in_features") != width:
        problems.append(
            f"{folder.name} reads embeddings of width {config.get('in_features')}, before it they have {width}"
        )
    try:
        weights = load_file(folder / "model.safetensors")
        weight, bias = weights["linear.weight"].float(), weights.get("linear.bias")
    except (OSError, SafetensorError, KeyError):
        pickle = " (its weights are a pickle, which is never read)" if list(folder.glob("*.bin")) else ""
        problems.append(f"{folder.name} has no model.safetensors with linear.weight{pickle}")
        return None
    if tuple(weight.shape) != (config.get("out_features"), config.get("in_features")):
        problems.append(f"{folder.name}: its weights are {tuple(weight.shape)}, its config says otherwise")
    return Dense(weight, None if bias is None else bias.float(), activation) if len(problems) == known else None


def write_embedder(folder: Path, embedder: Embedder, hidden_size: int) -> None:
    """Make a folder with an encoder and its tokenizer one of sentence-transformers."""
    entries: list[tuple[str, str]] = [("", "Transformer"), ("1_Pooling", "Pooling")]
    entries += [
        (f"{number}_{type(step).__name__}", type(step).__name__) for number, step in enumerate(embedder.steps, 2)
    ]
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": f"{LIBRARY}.models.{kind}"}
        for number, (path, kind) in enumerate(entries)
    ]
    about: dict[str, Any] = {
        "prompts": dict(embedder.prompts), "default_prompt_name": embedder.prompt_name,
        "similarity_fn_name": embedder.similarity,
    }  # fmt: skip
    if embedder.dims is not None:
        about["truncate_dim"] = embedder.dims
    write_json(folder / "modules.json", modules)
    write_json(folder / "config_sentence_transformers.json", about)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": embedder.max_length, "do_lower_case": False})
    write_json(folder / "1_Pooling" / "config.json", pooling_config(embedder, hidden_size))
    for (path, _), step in zip(entries[2:], embedder.steps, strict=True):
        (folder / path).mkdir()
        if isinstance(step, Dense):
            write_dense(folder / path, step)
        else:
            write_json(folder / path / "config.json", {})


def pooling_config(embedder: Embedder, hidden_size: int) -> dict[str, Any]:
    """As all versions read it, unless the poolings stand in an order that only version 6 can say."""
    modes, own = embedder.pooling, {"include_prompt": embedder.include_prompt}
    if modes == tuple(mode for mode in POOLINGS if mode in modes):
        return {"word_embedding_dimension": hidden_size, **{flag: mode in modes for flag, mode in FLAGS.items()}, **own}
    return {"embedding_dimension": hidden_size, "pooling_mode": list(modes), **own}


def write_dense(folder: Path, step: Dense) -> None:
    """Config and weights."""
    tensors = {"linear.weight": step.weight} | ({} if step.bias is None else {"linear.bias": step.bias})
    save_file(
        {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors"
    )
    out_features, in_features = step.weight.shape
    write_json(folder / "config.json", {
        "in_features": in_features, "out_features": out_features, "bias": step.bias is not None,
        "activation_function": step.activation,
    })  # fmt: skip


def write_json(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    """For people as well."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")

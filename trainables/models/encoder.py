"""One view over the encoders of the BERT, RoBERTa, XLM-R and DistilBERT families as transformers builds them.

Everything that a loss or a probe wants from a model, teacher or student, is read here and nowhere else.
Layers are counted from 1; H_0 are the embeddings and H_l is the output of layer l.
Shapes: B batch, T tokens, D width, N chosen positions, V vocabulary.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, PretrainedConfig, PreTrainedModel

from spaces.errors import choose
from spaces.students.architecture import FAMILIES, StudentArchitecture


@dataclass(frozen=True)
class Wiring:
    """Where a family keeps its parts: attribute paths below a layer, below the base model, and config keys."""

    stack: str
    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    ffn_in: str
    ffn_out: str
    ffn_norm: str
    head_marker: str  # a weight that only a checkpoint with a trained language-modelling head has
    transform: Callable[[Any], Callable[[Tensor], Tensor]]  # the head up to its last map, the decoder
    config_keys: tuple[str, str, str, str]  # layers, width, heads, feed-forward width
    build: dict[str, bool]


@dataclass(frozen=True)
class Head:
    """A masked-LM head at chosen positions, short of its logits words_ND @ weight_VD.T + bias_V, which are large."""

    words_ND: Tensor
    weight_VD: Tensor
    bias_V: Tensor


def bert_transform(model: Any) -> Callable[[Tensor], Tensor]:
    """BERT has it as a module."""
    return model.cls.predictions.transform


def roberta_transform(model: Any) -> Callable[[Tensor], Tensor]:
    """RoBERTa has the steps in its head, with the activation written into the code."""
    return lambda hidden: model.lm_head.layer_norm(F.gelu(model.lm_head.dense(hidden)))


def distilbert_transform(model: Any) -> Callable[[Tensor], Tensor]:
    """DistilBERT has the steps beside the encoder."""
    return lambda hidden: model.vocab_layer_norm(model.activation(model.vocab_transform(hidden)))


BERT = Wiring(
    stack="encoder", query="attention.self.query", key="attention.self.key", value="attention.self.value",
    attention_output="attention.output.dense", attention_norm="attention.output.LayerNorm",
    ffn_in="intermediate.dense", ffn_out="output.dense", ffn_norm="output.LayerNorm",
    head_marker="cls.predictions.transform.dense.weight", transform=bert_transform,
    config_keys=("num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size"),
    build={"add_pooling_layer": False},
)  # fmt: skip
ROBERTA = Wiring(**{**vars(BERT), "head_marker": "lm_head.dense.weight", "transform": roberta_transform})
DISTILBERT = Wiring(
    stack="transformer", query="attention.q_lin", key="attention.k_lin", value="attention.v_lin",
    attention_output="attention.out_lin", attention_norm="sa_layer_norm",
    ffn_in="ffn.lin1", ffn_out="ffn.lin2", ffn_norm="output_layer_norm",
    head_marker="vocab_transform.weight", transform=distilbert_transform,
    config_keys=("n_layers", "dim", "n_heads", "hidden_dim"), build={},
)  # fmt: skip
WIRINGS: dict[str, Wiring] = {"bert": BERT, "roberta": ROBERTA, "xlm-roberta": ROBERTA, "distilbert": DISTILBERT}


def wiring(config: PretrainedConfig) -> Wiring:
    """Raises SpecError for a model of another family, with the families that are known."""
    return choose("model family", WIRINGS, config.model_type)


def architecture(config: PretrainedConfig) -> StudentArchitecture:
    """The shape that a transformers config describes."""
    return StudentArchitecture(*(getattr(config, key) for key in wiring(config).config_keys))


def set_architecture(config: PretrainedConfig, shape: StudentArchitecture) -> None:
    """Write a shape into a transformers config."""
    values = (shape.num_layers, shape.hidden_size, shape.num_heads, shape.intermediate_size)
    for key, value in zip(wiring(config).config_keys, values, strict=True):
        setattr(config, key, value)


def build_model(config: PretrainedConfig, *, lm_head: bool) -> PreTrainedModel:
    """A model with fresh weights: the bare encoder without a pooler, or the encoder under a masked-LM head."""
    if lm_head:
        return AutoModelForMaskedLM.from_config(config)
    return AutoModel.from_config(config, **wiring(config).build)


def load_model(folder: Path, **options: object) -> PreTrainedModel:
    """A trained model of a local folder, with its language-modelling head where it has a trained one.

    A pointer to custom code in its config is neither followed nor handed on to what is made from the model.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    safe = {"use_safetensors": True, "trust_remote_code": False, "local_files_only": True, **options}
    if has_lm_head(folder, config):
        model = AutoModelForMaskedLM.from_pretrained(folder, **safe)
    else:
        model = AutoModel.from_pretrained(folder, **wiring(config).build, **safe)
    vars(model.config).pop("auto_map", None)
    return model


def has_lm_head(folder: Path, config: PretrainedConfig) -> bool:
    """Whether the safetensors hold a trained head; transformers would silently make a random one."""
    marker = wiring(config).head_marker
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if marker in file.keys():  # noqa: SIM118 - a safetensors file is not a mapping
                return True
    return False


def part(layer: nn.Module, path: str) -> Any:
    """A part of a layer (a linear map or a LayerNorm) by its attribute path."""
    return layer.get_submodule(path)


def layers(model: PreTrainedModel) -> nn.ModuleList:
    """The Transformer layers, first to last; layer l of the papers is `layers(model)[l - 1]`."""
    return getattr(model.base_model, wiring(model.config).stack).layer


def word_embeddings(model: PreTrainedModel) -> Tensor:
    """The matrix VD of word embeddings."""
    return part(model.base_model, "embeddings.word_embeddings").weight


def hidden_states(
    model: PreTrainedModel, input_ids_BT: Tensor, mask_BT: Tensor | None = None, num_layers: int | None = None
) -> tuple[Tensor, ...]:
    """(H_0, ..., H_n), each BTD; with `num_layers` the layers above it are not run at all.

    mask_BT: 1 at valid tokens, on either side; None when every token is valid.
    """
    base: Any = model.base_model
    if num_layers == 0:
        return (base.embeddings(input_ids=input_ids_BT),)
    stack = getattr(base, wiring(model.config).stack)
    every = stack.layer
    stack.layer = every if num_layers is None else every[:num_layers]
    states: list[Tensor] = []
    # Not `output_hidden_states`: its hooks are set once, on the layers that the first call happens to run.
    handles = [stack.layer[0].register_forward_pre_hook(
        lambda module, args, options: states.append(args[0] if args else options["hidden_states"]), with_kwargs=True
    )]  # fmt: skip
    handles += [
        layer.register_forward_hook(lambda module, args, out: states.append(out if isinstance(out, Tensor) else out[0]))
        for layer in stack.layer
    ]
    try:
        base(input_ids=input_ids_BT, attention_mask=mask_BT)
    finally:
        stack.layer = every
        for handle in handles:
            handle.remove()
    return tuple(states)


def qkv(model: PreTrainedModel, layer: int, previous_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (BTD, all heads side by side) of `layer` from H_{layer-1}.

    All four families normalise after each sublayer, so the attention reads H_{layer-1} as it is.
    """
    names, module = wiring(model.config), layers(model)[layer - 1]
    return tuple(part(module, name)(previous_BTD) for name in (names.query, names.key, names.value))  # type: ignore[return-value]


def lm_head(model: PreTrainedModel, hidden_ND: Tensor) -> Head:
    """The head at chosen positions. Under autocast the words carry its dtype, in which the logits are then made."""
    words_ND, decoder = wiring(model.config).transform(model)(hidden_ND), model.get_output_embeddings()
    kind = words_ND.device.type
    if torch.is_autocast_enabled(kind):
        words_ND = words_ND.to(torch.get_autocast_dtype(kind))
    return Head(words_ND, decoder.weight, decoder.bias)


def lm_logits(model: PreTrainedModel, hidden_ND: Tensor) -> Tensor:
    """Vocabulary logits NV of chosen positions."""
    head = lm_head(model, hidden_ND)
    return F.linear(head.words_ND, head.weight_VD, head.bias_V)


def usable_positions(model: PreTrainedModel) -> int:
    """The longest sequence that the position table serves."""
    config: Any = model.config
    return config.max_position_embeddings - choose("model family", FAMILIES, config.model_type).position_offset

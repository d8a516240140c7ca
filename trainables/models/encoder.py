"""One view over encoders as transformers builds them, whatever their family.

Everything that a loss or a probe wants from a model, teacher or student, is read here and nowhere else; how each family
is built is known to its file in trainables/models/families.
Layers are counted from 1; H_0 are the embeddings and H_l is the output of layer l.
Shapes: B batch, T tokens, D width, N chosen positions, V vocabulary.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    PretrainedConfig,
    PreTrainedModel,
)

from spaces.errors import choose
from spaces.students.architecture import StudentArchitecture
from trainables.models.attention import quick_attention
from trainables.models.families import FAMILIES
from trainables.models.family import Family, LayerParts, ScoringHead
from trainables.models.file_encoder import FileEncoder


@dataclass(frozen=True)
class Head:
    """A masked-LM head at chosen positions, short of its logits words_ND @ weight_VD.T + bias_V, which are large."""

    words_ND: Tensor
    weight_VD: Tensor
    bias_V: Tensor


def family_of(config: PretrainedConfig) -> Family:
    """Raises SpecError for a model of another family, with the families that are known."""
    return choose("model family", FAMILIES, config.model_type)


def architecture(config: PretrainedConfig) -> StudentArchitecture:
    """The shape that a transformers config describes."""
    return StudentArchitecture(*(getattr(config, key) for key in family_of(config).config_keys))


def set_architecture(config: PretrainedConfig, shape: StudentArchitecture) -> None:
    """Write a shape into a transformers config."""
    family, before = family_of(config), architecture(config)
    values = (shape.num_layers, shape.hidden_size, shape.num_heads, shape.intermediate_size)
    for key, value in zip(family.config_keys, values, strict=True):
        setattr(config, key, value)
    family.fit_config(config, before)


def build_model(config: PretrainedConfig, *, lm_head: bool = False, scoring: bool = False) -> PreTrainedModel:
    """A model with fresh weights: the bare encoder without a pooler, or under a masked-LM head or one that scores."""
    if scoring:
        return AutoModelForSequenceClassification.from_config(config)
    if lm_head:
        return AutoModelForMaskedLM.from_config(config)
    return AutoModel.from_config(config, **without_pooler(config))


def without_pooler(config: PretrainedConfig) -> dict[str, bool]:
    """What AutoModel has to be told."""
    return {"add_pooling_layer": False} if family_of(config).has_pooler else {}


ONE_OF_SEVERAL = (None, "single_label_classification")
"""Values of `problem_type` under which a head of several outputs chooses one."""
CLASSIFIER = "ForSequenceClassification"
"""How the names of such classes of transformers end."""


def labels_of(config: PretrainedConfig, weights: Iterable[str]) -> int:
    """Outputs of the classification head that a checkpoint has; 0 for none that could be distilled.

    weights: the names of its weights; those of an encoder that was saved alone may lack the head. One that gives a text
    several labels at once (problem_type "multi_label_classification"), or several numbers, is read as an encoder.
    """
    named = any(str(name).endswith(CLASSIFIER) for name in config.architectures or ())
    number = int(config.num_labels or 0) if named and family_of(config).scoring is not None else 0
    if number > 1 and (config.problem_type not in ONE_OF_SEVERAL or not any(map(is_of_head, weights))):
        return 0
    return number


def is_of_head(name: str) -> bool:
    """Whether a weight is of a classification head: all families call it so."""
    return name.startswith("classifier.")


def outputs_of(model: Any) -> int:
    """Outputs of the classification head that a model carries; 0 for none."""
    return int(model.config.num_labels) if type(model).__name__.endswith(CLASSIFIER) else 0


def scores_pairs(model: Any) -> bool:
    """Whether this is a cross-encoder: it reads two texts in one sequence and gives them one score."""
    return outputs_of(model) == 1


def classes_of(model: Any) -> tuple[str, ...]:
    """The classes that a classifier tells apart, as its config names them; none of another model."""
    if isinstance(model, FileEncoder):
        return model.classes
    number = outputs_of(model)
    return tuple(str(model.config.id2label[place]) for place in range(number)) if number > 1 else ()


def scoring_head(model: PreTrainedModel) -> ScoringHead:
    """That of a cross-encoder or a classifier."""
    scoring = family_of(model.config).scoring
    assert scoring is not None  # no other model is read as one
    return scoring(model)


def types_of_pairs(model: PreTrainedModel, input_ids_BT: Tensor, mask_BT: Tensor | None) -> dict[str, Tensor]:
    """The types of tokens that a cross-encoder reads, where it tells its two texts apart: 1 for the second, else 0.

    The second text begins after the first separator, which is the token that ends the row too.
    """
    if not getattr(getattr(model, "embedder", None), "marks_second", False):
        return {}
    valid_BT = torch.ones_like(input_ids_BT) if mask_BT is None else mask_BT.long()
    last_B1 = input_ids_BT.shape[1] - 1 - valid_BT.flip(1).argmax(1, keepdim=True)
    ends_BT = (input_ids_BT == input_ids_BT.gather(1, last_B1)).long() * valid_BT
    after_BT = (ends_BT.cumsum(1) - ends_BT).clamp(max=1)
    return {"token_type_ids": after_BT * valid_BT}


def layers(model: PreTrainedModel) -> Any:
    """The list of Transformer layers, first to last; layer l of the papers is `layers(model)[l - 1]`.

    Where one layer's weights serve all, it stands there as often as it is run.
    """
    family = family_of(model.config)
    own: Any = model.base_model.get_submodule(family.layers)
    return [own[0]] * architecture(model.config).num_layers if family.one_layer else own


@contextmanager
def shallow(model: PreTrainedModel, num_layers: int | None) -> Iterator[Any]:
    """The layers that the model runs inside: its first `num_layers`, or all."""
    family, every = family_of(model.config), layers(model)
    run = every[:num_layers]
    place: Any = model.config
    if family.one_layer:
        name, whole, part = family.config_keys[0], len(every), len(run)
    else:
        path, _, name = family.layers.rpartition(".")
        place, whole, part = model.base_model.get_submodule(path), every, run
    setattr(place, name, part)
    try:
        yield run
    finally:
        setattr(place, name, whole)


def parts(model: PreTrainedModel, layer: int) -> LayerParts:
    """The parts of a layer."""
    return family_of(model.config).parts(layers(model)[layer - 1])


def word_embeddings(model: PreTrainedModel) -> Tensor:
    """The matrix VD of word embeddings."""
    return model.get_input_embeddings().weight  # type: ignore[return-value]


def hidden_states(
    model: PreTrainedModel | FileEncoder,
    input_ids_BT: Tensor,
    mask_BT: Tensor | None = None,
    num_layers: int | None = None,
    mix: Callable[[Tensor], Tensor] | None = None,
    **more: Tensor,
) -> tuple[Tensor, ...]:
    """(H_0, ..., H_n), each BTD; with `num_layers` the layers above it are not run at all.

    mask_BT: 1 at valid tokens, on either side; None when every token is valid. more: other inputs of the model.
    mix: what is made of H_0 before the first layer reads it.
    """
    if isinstance(model, FileEncoder):
        if mix is not None:
            raise ValueError("a teacher in a file cannot read mixed embeddings")
        return model.hidden_states(input_ids_BT, mask_BT, num_layers)
    family, base = family_of(model.config), model.base_model
    more = more or types_of_pairs(model, input_ids_BT, mask_BT)
    if num_layers == 0:
        if more:
            return hidden_states(model, input_ids_BT, mask_BT, 1, mix, **more)[:1]
        first_BTD = family.embed(base, input_ids_BT)
        return (first_BTD if mix is None else mix(first_BTD),)
    states: list[Tensor] = []

    def before(module: Any, args: tuple, options: dict) -> tuple[tuple, dict] | None:
        if states:
            return None
        given = args[0] if args else options["hidden_states"]
        states.append(given if mix is None else mix(given))
        return ((states[0], *args[1:]), options) if args else (args, {**options, "hidden_states": states[0]})

    def after(module: Any, args: tuple, out: Any) -> None:
        states.append(out if isinstance(out, Tensor) else out[0])

    with shallow(model, num_layers) as run, quick_attention(model, input_ids_BT):
        # Not `output_hidden_states`: its hooks are set once, on the layers that the first call happens to run.
        handles = [run[0].register_forward_pre_hook(before, with_kwargs=True)]
        handles += [layer.register_forward_hook(after) for layer in dict.fromkeys(run)]
        try:
            out = base(input_ids=input_ids_BT, attention_mask=mask_BT, **more)
        finally:
            for handle in handles:
                handle.remove()
    if len(run) == len(layers(model)):
        states[-1] = out.last_hidden_state  # after the final norm of a family that has one
    return tuple(states)


def finished(model: PreTrainedModel, layer: int, hidden: Tensor) -> Tensor:
    """H_layer as it would be after the last layer: through the final norm, if there is one and it is not in it yet."""
    family = family_of(model.config)
    if family.final_norm is None or layer == len(layers(model)):
        return hidden
    return family.final_norm(model.base_model)(hidden)


def qkv(model: PreTrainedModel, layer: int, previous_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (BTD, all heads side by side) of `layer` from H_{layer-1}, before any rotation."""
    return family_of(model.config).qkv(layers(model)[layer - 1], previous_BTD)


ROUNDED: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
"""Of frozen weights: their version, and a copy of them in the dtype of autocast, which is made once."""


def rounded(weight: Tensor, dtype: torch.dtype) -> Tensor:
    """A frozen weight in a dtype, the same tensor until the weight changes; one that is trained stays as it is."""
    if weight.requires_grad:
        return weight
    version, copy = ROUNDED.get(weight, (None, None))
    if version != weight._version or copy.dtype != dtype or copy.device != weight.device:
        copy = weight.detach().to(dtype)
        ROUNDED[weight] = weight._version, copy
    return copy


def lm_head(model: PreTrainedModel, hidden_ND: Tensor) -> Head:
    """The head at chosen positions. Under autocast the words carry its dtype, in which the logits are then made.

    So does a frozen weight then: that of a teacher is as large as a whole student, and would be converted in each step.
    """
    head_words = family_of(model.config).head_words
    assert head_words is not None  # no method that reads a head is offered for such a teacher
    words_ND, decoder = head_words(model, hidden_ND), model.get_output_embeddings()
    kind, weight_VD = words_ND.device.type, decoder.weight
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        words_ND, weight_VD = words_ND.to(dtype), rounded(weight_VD, dtype)
    bias_V = decoder.bias if decoder.bias is not None else decoder.weight.new_zeros(len(decoder.weight))
    return Head(words_ND, weight_VD, bias_V)


def lm_logits(model: PreTrainedModel, hidden_ND: Tensor) -> Tensor:
    """Vocabulary logits NV of chosen positions."""
    head = lm_head(model, hidden_ND)
    return F.linear(head.words_ND, head.weight_VD, head.bias_V)


def usable_positions(config: PretrainedConfig) -> int:
    """The longest sequence that the positions serve."""
    return config.max_position_embeddings - family_of(config).facts(config).position_offset

"""An encoder as an ONNX file: traced by torch.export, with each attention as one operator, and compared with torch.

Inputs are input_ids and attention_mask, and token_type_ids where the model tells two texts of a sequence apart, as
optimum names them. Outputs are last_hidden_state and sentence_embedding, which is pooled as the model's embedder says,
and the logits of a classifier; a language-modelling head is left out. The states of the layers below the last are
tensors of known names inside (models/file_encoder.py).

onnxruntime's own optimiser knows no attention that torch.export writes. So the model runs an attention function of ours
while it is traced, which stands in the file as MultiHeadAttention (com.microsoft). Families that do not ask
transformers for their attention function keep theirs in pieces.

Shapes: B batch, H heads, T tokens, D width, E width of an embedding, C classes.
"""

import inspect
import logging
import warnings
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.masking_utils import AttentionMaskInterface, eager_mask

from spaces.errors import StillhouseError
from spaces.records.runtimes import ONNX, need_runtime
from trainables.cache import new_file
from trainables.export.blank_graphs import fill_graph
from trainables.models.attention import attention_by
from trainables.models.embedding import embedder_of, finish, pool
from trainables.models.encoder import (
    architecture,
    classes_of,
    family_of,
    hidden_states,
    scoring_head,
    usable_positions,
)
from trainables.models.file_encoder import EMBEDDING, LOGITS, STATES, layer_name

log = logging.getLogger(__name__)

TOLERANCE = 1e-4
OPSET = 20
"""GELU is one operator since then, which onnxruntime runs as one (2 to 3 % of the latency); 1.17 and later read it."""
FUSED = "stillhouse_onnx"
"""The name of our attention function in transformers."""


def fused_attention(
    module: nn.Module,
    query_BHTD: Tensor,
    key_BHTD: Tensor,
    value_BHTD: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """Attention as one operator of the file; it is only traced, never run."""
    heads = query_BHTD.shape[1]
    query, key, value = (
        x.repeat_interleave(heads // x.shape[1], dim=1).transpose(1, 2).flatten(2)
        for x in (query_BHTD, key_BHTD, value_BHTD)
    )
    inputs = [query, key, value, *([] if attention_mask is None else [None, None, attention_mask])]
    scale = query_BHTD.shape[-1] ** -0.5 if scaling is None else float(scaling)
    out = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention", inputs, {"num_heads": heads, "scale": scale},
        dtype=query.dtype, shape=query.shape, version=1,
    )  # fmt: skip
    return out.unflatten(2, (heads, -1)), None


AttentionInterface.register(FUSED, fused_attention)
AttentionMaskInterface.register(FUSED, eager_mask)


class OtherNumbers(StillhouseError):
    """A file that does not give the numbers of its model."""


class Traced(nn.Module):
    """An encoder with tensors for outputs, which is what ONNX wants."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.encoder, self.embedder = cast(PreTrainedModel, model.base_model), embedder_of(model)
        self.outputs = outputs_of_file(model)
        self.head = scoring_head(model) if LOGITS in self.outputs else None
        self.state = family_of(model.config).scored_state(model.config)
        parts = () if self.head is None else (self.head.dense, self.head.out, self.head.norm)
        self.parts = nn.ModuleList(cast(nn.Module, part) for part in parts if part is not None)
        """Of the head, so that its weights are known here."""

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """(last states BTD, embeddings BE, scores of classes BC of a classifier, the states of the layers below,
        embeddings of the tokens first).
        """
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        *below, states_BTD = hidden_states(self.encoder, input_ids, attention_mask, None, None, **types)
        pooled_BMD = pool(self.embedder.pooling, self.embedder.skipped, states_BTD, attention_mask)
        found = [states_BTD, finish(self.embedder, pooled_BMD)]
        if self.head is not None:
            found.append(self.head(pool((self.state,), 0, states_BTD, attention_mask)[:, 0]))
        return (*found, *below)


def outputs_of_file(model: PreTrainedModel) -> list[str]:
    """The names of what the file of a model gives."""
    return [STATES, EMBEDDING, *([LOGITS] if classes_of(model) else [])]


def export_onnx(model: PreTrainedModel, file: str | Path) -> Path:
    """Write an encoder with free batch and sequence axes, verified by onnxruntime on another shape.

    Raises StillhouseError when a package is missing, or the file gives other numbers than the model.
    """
    need_runtime(ONNX)
    file = Path(file)
    module: nn.Module = model
    home, was_training = model.device, model.training
    try:
        module.to("cpu").eval()
        with new_file(file) as unfinished:
            try:
                fill_graph(model, unfinished, write_onnx, OPSET)
                verify_onnx(model, unfinished)
            except OtherNumbers:
                log.info("a graph of %s holds more than its weights: traced on its own", model.config.model_type)
                write_onnx(model, unfinished)
                verify_onnx(model, unfinished)
    finally:
        module.to(home).train(was_training)
    return file


def attentions(file: Path) -> int:
    """How many attentions of a file are one operator."""
    import onnx

    return sum(node.op_type == "MultiHeadAttention" for node in onnx.load(file).graph.node)


def sample_inputs(model: PreTrainedModel) -> dict[str, Tensor]:
    """Two sequences of random tokens, one of them padded; of two token types where the model tells them apart."""
    length = min(16, usable_positions(model.config) // 2)
    shape, generator = (2, length), torch.Generator().manual_seed(0)
    ids_BT = torch.randint(0, model.config.vocab_size, shape, generator=generator)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, length // 2 :] = 0
    pad_id = model.config.pad_token_id or 0
    ids_BT = torch.where(mask_BT.bool() & (ids_BT == pad_id), (pad_id + 1) % model.config.vocab_size, ids_BT)
    ids_BT = torch.where(mask_BT.bool(), ids_BT, pad_id)
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT}
    if reads_types(model):
        inputs["token_type_ids"] = mask_BT * (torch.arange(length) >= length // 4).long()
    return {name: tensor.to(model.device) for name, tensor in inputs.items()}


def reads_types(model: PreTrainedModel) -> bool:
    """Whether the second text of a pair is told apart by its token type."""
    takes = inspect.signature(type(model.base_model).forward).parameters
    return (getattr(model.config, "type_vocab_size", 0) or 0) > 1 and "token_type_ids" in takes


def write_onnx(model: PreTrainedModel, file: Path) -> None:
    """Trace by torch.export, on the CPU. The states below the last layer are outputs until they have their names."""
    import onnx

    traced, inputs = Traced(model).eval(), sample_inputs(model)
    below = [layer_name(layer) for layer in range(architecture(model.config).num_layers)]
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which is not wanted here
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    with attention_by(model, FUSED), warnings.catch_warnings():
        # The exporter's own: both inputs share their axes, and it uses a torch API that torch deprecates.
        warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        torch.onnx.export(
            traced,
            (),
            str(file),
            kwargs=dict(inputs),
            input_names=list(inputs),
            output_names=[*traced.outputs, *below],
            dynamic_shapes=dict.fromkeys(inputs, axes),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    found = onnx.load(file)
    given = len(traced.outputs)
    found.graph.value_info.extend(found.graph.output[given:])  # the quantiser leaves alone what has no known type
    del found.graph.output[given:]
    for each in (found, found.graph, *found.graph.node, *found.graph.value_info, *found.graph.output):
        del each.metadata_props[:]  # where in which source file each operator comes from
    onnx.save(found, file)


@torch.inference_mode()
def verify_onnx(model: PreTrainedModel, file: Path) -> None:
    """Compare on three shorter sequences, so that fixed axes are found out. Raises OtherNumbers."""
    import onnxruntime

    traced, inputs = Traced(model).eval(), sample_inputs(model)
    shorter = {key: torch.cat([value, value[:1]])[:, :-3].contiguous() for key, value in inputs.items()}
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    feeds = {key: value.numpy() for key, value in shorter.items()}
    valid = shorter["attention_mask"].bool()
    theirs = [torch.from_numpy(each) for each in session.run(traced.outputs, feeds)]
    pairs = list(zip(traced(**shorter)[: len(theirs)], theirs, strict=True))
    pairs[0] = (pairs[0][0][valid], pairs[0][1][valid])
    difference = max(float((ours - other).abs().max()) for ours, other in pairs)
    if not difference < TOLERANCE:
        raise OtherNumbers(
            f"the ONNX file gives other numbers than the model: they differ by {difference:.2g}, "
            f"more than {TOLERANCE:g}; it was not kept"
        )

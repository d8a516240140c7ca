"""An encoder that is a file for onnxruntime, read by tasks as they read a model of transformers.

Beside what the file gives where it is used it gives the states of every layer, which probes read: tensors that are
inside the file anyway, named when it is written (export/graphs.py), so that nothing of what is computed changes.

Shapes: B batch, T tokens, D width, E width of an embedding.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from trainables.cache import digest

STATES, EMBEDDING = "last_hidden_state", "sentence_embedding"
"""The outputs of a file."""


def layer_name(layer: int) -> str:
    """The tensor of H_layer inside a file, for each layer below the last."""
    return f"hidden_state_{layer}"


def open_encoder(file: Path, config: PretrainedConfig, embedder: Any, num_layers: int) -> "FileEncoder":
    """The encoder of a file, which is in memory then.

    config: that of the model whose file it is. embedder: how that model embeds texts, for `embedder_of`.
    """
    import onnx
    import onnxruntime

    graph = onnx.load(file)
    types = {each.name: each.type.tensor_type.elem_type for each in graph.graph.value_info}
    for layer in range(num_layers):
        name = layer_name(layer)
        state = onnx.helper.make_tensor_value_info(name, types.get(name, onnx.TensorProto.FLOAT), None)
        graph.graph.output.append(state)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = torch.get_num_threads(), 1
    content = graph.SerializeToString(deterministic=True)
    session = onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    return FileEncoder(session, digest(content), config, embedder, num_layers)


class FileEncoder(nn.Module):
    """Reads on the CPU, on as many threads as torch has when it is opened. It has no parameters to train."""

    device = torch.device("cpu")

    def __init__(self, session: Any, content: str, config: PretrainedConfig, embedder: Any, num_layers: int) -> None:
        super().__init__()
        self.digest = content
        """Of the file."""
        self.session, self.config, self.embedder, self.num_layers = session, config, embedder, num_layers
        self.inputs = [each.name for each in session.get_inputs()]

    def hidden_states(self, input_ids_BT: Tensor, mask_BT: Tensor | None, num_layers: int | None) -> tuple[Tensor, ...]:
        """(H_0, ..., H_n), each BTD; n is the last layer, or `num_layers`."""
        deepest = self.num_layers if num_layers is None else num_layers
        names = [layer_name(layer) if layer < self.num_layers else STATES for layer in range(deepest + 1)]
        return self._run(names, input_ids_BT, mask_BT)

    def embeddings(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Embeddings BE as whoever uses the file has them."""
        return self._run([EMBEDDING], input_ids_BT, mask_BT)[0]

    def _run(self, outputs: list[str], input_ids_BT: Tensor, mask_BT: Tensor | None) -> tuple[Tensor, ...]:
        """All token types are 0, as students are taught; in float32, whatever the file computes in."""
        mask_BT = torch.ones_like(input_ids_BT) if mask_BT is None else mask_BT
        known = {"input_ids": input_ids_BT, "attention_mask": mask_BT, "token_type_ids": torch.zeros_like(input_ids_BT)}
        feeds = {name: known[name].long().numpy() for name in self.inputs}
        return tuple(torch.from_numpy(each).float() for each in self.session.run(outputs, feeds))

"""An encoder that is a file for another runtime, read by tasks as they read a model of transformers.

Beside what the file gives where it is used it gives the states of every layer, which probes read: tensors that are
inside the file anyway, named when it is written (export/graphs.py), so that nothing of what is computed changes.

Shapes: B batch, T tokens, D width, E width of an embedding, C classes.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from spaces.records.runtimes import RUNTIMES, opener
from trainables.cache import digest
from trainables.models.sessions import Session

STATES, EMBEDDING, LOGITS = "last_hidden_state", "sentence_embedding", "logits"
"""The outputs of a file; the last of a classifier alone."""


def layer_name(layer: int) -> str:
    """The tensor of H_layer inside a file, for each layer below the last."""
    return f"hidden_state_{layer}"


def open_encoder(
    runtime: str, file: Path, config: PretrainedConfig, embedder: Any, num_layers: int, classes: tuple[str, ...] = ()
) -> "FileEncoder":
    """The encoder of a file, which is in memory then.

    config: that of the model whose file it is. embedder: how that model embeds texts, for `embedder_of`. classes: that
    its head tells apart, if it has one.
    """
    layers = [layer_name(layer) for layer in range(num_layers)]
    session = opener(runtime)(file, torch.get_num_threads(), "cpu", layers)
    content = digest(runtime, *(part.read_bytes() for part in RUNTIMES[runtime].parts(file)))
    return FileEncoder(session, content, config, embedder, num_layers, classes)


class FileEncoder(nn.Module):
    """Reads on the CPU, on as many threads as torch has when it is opened. It has no parameters to train."""

    device = torch.device("cpu")

    def __init__(
        self, session: Session, content: str, config: PretrainedConfig, embedder: Any, num_layers: int,
        classes: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        super().__init__()
        self.digest = content
        """Of the runtime and the file."""
        self.session, self.config, self.embedder, self.num_layers = session, config, embedder, num_layers
        self.classes = classes

    def hidden_states(self, input_ids_BT: Tensor, mask_BT: Tensor | None, num_layers: int | None) -> tuple[Tensor, ...]:
        """(H_0, ..., H_n), each BTD; n is the last layer, or `num_layers`."""
        deepest = self.num_layers if num_layers is None else num_layers
        names = [layer_name(layer) if layer < self.num_layers else STATES for layer in range(deepest + 1)]
        return self._run(names, input_ids_BT, mask_BT)

    def embeddings(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """Embeddings BE as whoever uses the file has them."""
        return self._run([EMBEDDING], input_ids_BT, mask_BT)[0]

    def logits(self, input_ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        """The score of each class BC, of a classifier."""
        return self._run([LOGITS], input_ids_BT, mask_BT)[0]

    def _run(self, outputs: list[str], input_ids_BT: Tensor, mask_BT: Tensor | None) -> tuple[Tensor, ...]:
        """All token types are 0, as students are taught; in float32, whatever the file computes in."""
        mask_BT = torch.ones_like(input_ids_BT) if mask_BT is None else mask_BT
        known = {"input_ids": input_ids_BT, "attention_mask": mask_BT, "token_type_ids": torch.zeros_like(input_ids_BT)}
        feeds = {name: known[name].long().numpy() for name in self.session.inputs}
        return tuple(torch.from_numpy(each).float() for each in self.session.run(outputs, feeds))

"""Features of texts: what an encoder says about them at each layer, as numbers that a linear model or a cosine reads.

Texts are the means over their valid positions, words the states of their first sub-tokens. Features of pairs are made
of those of both texts, u and v.

Shapes: B batch, T tokens, D hidden size, L layers, N examples, F features.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from trainables.models.encoder import hidden_states
from trainables.models.file_encoder import FileEncoder
from trainables.tasks.data import Split
from trainables.text.batching import length_batches, padded
from trainables.text.ragged import Ragged

BATCH_TOKENS = 2048

Read = Callable[..., np.ndarray]
"""`encoded_features` of one model at the layers that are asked: (texts) or (texts, words) -> LND."""
Features = Callable[[Split, Read], np.ndarray]
"""(split, read) -> LNF float32, an N for each label."""


def text_features(split: Split, read: Read) -> np.ndarray:
    """The text as it is."""
    return read(split.views["text"])


def word_features(split: Split, read: Read) -> np.ndarray:
    """The state of the first sub-token of each word, as in BERT's tagger (arXiv:1810.04805, section 5.3)."""
    return read(split.views["text"], split.views["words"])


def pair_features(split: Split, read: Read) -> np.ndarray:
    """u, v, |u - v| and u * v of texts that are encoded apart (InferSent, arXiv:1705.02364)."""
    u_LND, v_LND = read(split.views["text"]), read(split.views["text2"])
    return np.concatenate([u_LND, v_LND, np.abs(u_LND - v_LND), u_LND * v_LND], axis=-1)


def likeness_features(split: Split, read: Read) -> np.ndarray:
    """|u - v| and u * v of a pair, which say how alike its texts are; of a single text, the text as it is."""
    if "text2" not in split.views:
        return text_features(split, read)
    u_LND, v_LND = read(split.views["text"]), read(split.views["text2"])
    return np.concatenate([np.abs(u_LND - v_LND), u_LND * v_LND], axis=-1)


@torch.inference_mode()
def encoded_features(
    model: PreTrainedModel | FileEncoder,
    texts: Ragged,
    pad_id: int,
    words: Ragged | None = None,
    *,
    layers: Sequence[int] | None = None,
) -> np.ndarray:
    """Mean over the valid positions of each text at the asked layers (all by default), LND float32.

    With `words`, the states at the positions that it gives for each text instead, one example for each. Texts are
    batched by length, so that little is padded; the result is in their own order.
    """
    device = model.device
    deepest = None if layers is None else max(layers)
    was_training = model.training
    model.eval()
    features_LND: np.ndarray | None = None
    try:
        for rows in length_batches(texts.lengths(), BATCH_TOKENS):
            ids_BT, mask_BT = padded([texts[row] for row in rows], pad_id)
            states = hidden_states(model, ids_BT.to(device), mask_BT.to(device), deepest)
            asked = states if layers is None else [states[layer] for layer in layers]
            if words is None:
                read_LBD = np.stack([mean_pool(state_BTD, mask_BT.to(device)).cpu().numpy() for state_BTD in asked])
            else:
                places = word_places(words, rows)
                read_LBD = np.stack([state_BTD[places].float().cpu().numpy() for state_BTD in asked])
            if features_LND is None:
                count = len(texts) if words is None else len(words.values)
                features_LND = np.empty((len(asked), count, read_LBD.shape[-1]), dtype=np.float32)
            features_LND[:, rows if words is None else words.indices(rows)] = read_LBD
    finally:
        model.train(was_training)
    assert features_LND is not None, "a prepared split is never empty"
    return features_LND


def mean_pool(states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean over valid positions, BD float32."""
    weights_BT1 = mask_BT.to(torch.float32).unsqueeze(-1)
    return (states_BTD.float() * weights_BT1).sum(1) / weights_BT1.sum(1).clamp(min=1.0)


def word_places(words: Ragged, rows: np.ndarray) -> tuple[Tensor, Tensor]:
    """(row of the batch, position) of each scored word of these texts, batched in this order, padded on the right."""
    inside = np.repeat(np.arange(len(rows)), words.lengths()[rows])
    return torch.from_numpy(inside), torch.from_numpy(np.asarray(words.values)[words.indices(rows)].astype(np.int64))

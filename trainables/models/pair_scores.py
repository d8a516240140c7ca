"""Cross-encoders at work: the score of each of some pairs of texts, as transformers computes it.

Shapes: B batch, T tokens, N pairs.
"""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainables.models.embedding import BATCH_TOKENS, TOKENIZER_BATCH, embedder_of
from trainables.models.encoder import types_of_pairs
from trainables.text.batching import length_batches, padded
from trainables.text.ragged import Ragged, ragged


@torch.inference_mode()
def score_tokens(model: PreTrainedModel, pairs: Ragged, pad_id: int) -> np.ndarray:
    """Scores N, float32, of pairs as token ids, before any activation."""
    was_training = model.training
    model.eval()
    found_N = np.empty(len(pairs), dtype=np.float32)
    try:
        for rows in length_batches(pairs.lengths(), BATCH_TOKENS):
            ids_BT, mask_BT = (x.to(model.device) for x in padded([pairs[row] for row in rows], pad_id))
            types = types_of_pairs(model, ids_BT, mask_BT)
            found_N[rows] = model(input_ids=ids_BT, attention_mask=mask_BT, **types).logits[:, 0].float().cpu().numpy()
    finally:
        model.train(was_training)
    return found_N


def score_pairs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]
) -> np.ndarray:
    """Scores N of pairs of texts: what `CrossEncoder.predict` of the same folder gives, but for its activation."""
    ids: list[list[int]] = []
    for start in range(0, len(pairs), TOKENIZER_BATCH):
        columns = (list(column) for column in zip(*pairs[start : start + TOKENIZER_BATCH], strict=True))
        ids += tokenizer(*columns, truncation=True, max_length=embedder_of(model).max_length)["input_ids"]
    return score_tokens(model, ragged(ids, np.int32), tokenizer.pad_token_id or 0)

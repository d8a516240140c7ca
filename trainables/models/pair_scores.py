"""Cross-encoders and classifiers at work: the scores of texts, or pairs of texts, as transformers computes them.

Shapes: B batch, T tokens, N texts or pairs, C outputs of the head.
"""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trainables.models.embedding import BATCH_TOKENS, TOKENIZER_BATCH, embedder_of
from trainables.models.encoder import classes_of, types_of_pairs
from trainables.models.file_encoder import FileEncoder
from trainables.text.batching import length_batches, padded
from trainables.text.ragged import Ragged, ragged


@torch.inference_mode()
def logits_of(model: PreTrainedModel | FileEncoder, texts: Ragged, pad_id: int) -> np.ndarray:
    """What the head says of texts or pairs as token ids, NC float32, before any activation."""
    was_training = model.training
    model.eval()
    found_NC = np.empty((len(texts), len(classes_of(model)) or 1), dtype=np.float32)
    try:
        for rows in length_batches(texts.lengths(), BATCH_TOKENS):
            ids_BT, mask_BT = (x.to(model.device) for x in padded([texts[row] for row in rows], pad_id))
            if isinstance(model, FileEncoder):
                found_NC[rows] = model.logits(ids_BT, mask_BT).numpy()
                continue
            types = types_of_pairs(model, ids_BT, mask_BT)
            found_NC[rows] = model(input_ids=ids_BT, attention_mask=mask_BT, **types).logits.float().cpu().numpy()
    finally:
        model.train(was_training)
    return found_NC


def score_tokens(model: PreTrainedModel, pairs: Ragged, pad_id: int) -> np.ndarray:
    """Scores N, float32, of pairs as token ids, before any activation."""
    return logits_of(model, pairs, pad_id)[:, 0]


def score_pairs(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pairs: Sequence[tuple[str, str]]
) -> np.ndarray:
    """Scores N of pairs of texts: what `CrossEncoder.predict` of the same folder gives, but for its activation."""
    ids: list[list[int]] = []
    for start in range(0, len(pairs), TOKENIZER_BATCH):
        columns = (list(column) for column in zip(*pairs[start : start + TOKENIZER_BATCH], strict=True))
        ids += tokenizer(*columns, truncation=True, max_length=embedder_of(model).max_length)["input_ids"]
    return score_tokens(model, ragged(ids, np.int32), tokenizer.pad_token_id or 0)

"""RoBERTa and XLM-R (transformers/models/roberta/modeling_roberta.py): BERT but for its positions and its head."""

from dataclasses import replace

import torch.nn.functional as F
from torch import Tensor

from trainables.models.families.bert import BERT, BertFacts
from trainables.models.family import Config, Model


def facts(config: Config) -> BertFacts:
    """Positions are counted from the row after the padding token's id."""
    return BertFacts(config.model_type, config.pad_token_id + 1)


def head_words(model: Model, hidden_ND: Tensor) -> Tensor:
    """The steps are written into the head's code, with the activation."""
    head = model.lm_head
    return head.layer_norm(F.gelu(head.dense(hidden_ND)))


ROBERTA = replace(BERT, facts=facts, head_marker="lm_head.dense.weight", head_words=head_words)

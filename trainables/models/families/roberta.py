"""RoBERTa and XLM-R (transformers/models/roberta/modeling_roberta.py): BERT but for its positions and its head."""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from spaces.errors import SpecError
from trainables.models.families.bert import BERT, BertFacts
from trainables.models.family import Config, Model, ReadFacts, ScoringHead


def facts(config: Config) -> BertFacts:
    """Positions are counted from the row after the padding token's id."""
    return BertFacts(config.model_type, config.pad_token_id + 1)


def for_reading(read: ReadFacts) -> dict[str, int]:
    """The rows up to that of the padding token stand before the positions. Raises SpecError where none is named."""
    if read.pad_token_id is None:
        raise SpecError(["positions are counted from the id of the padding token, which the teacher's config lacks"])
    return {"max_position_embeddings": read.positions + read.pad_token_id + 1, "type_vocab_size": read.types or 1}


def head_words(model: Model, hidden_ND: Tensor) -> Tensor:
    """The steps are written into the head's code, with the activation."""
    head = model.lm_head
    return head.layer_norm(F.gelu(head.dense(hidden_ND)))


def scoring(model: Model) -> ScoringHead:
    """The head is a module, with the activation in its code."""
    head = model.classifier
    return ScoringHead(head.dense, torch.tanh, head.out_proj)


ROBERTA = replace(
    BERT, facts=facts, head_marker="lm_head.dense.weight", head_words=head_words, scoring=scoring,
    for_reading=for_reading,
)  # fmt: skip

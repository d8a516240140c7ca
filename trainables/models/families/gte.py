"""GTE (transformers/models/gte/modeling_gte.py, arXiv:2407.19669): laid out as Nomic BERT, with some biases.

Types are optional, and the masked-LM head is RoBERTa's.
"""

from dataclasses import replace

from trainables.models.families.nomic_bert import NOMIC_BERT
from trainables.models.families.roberta import ROBERTA
from trainables.models.family import Config, nothing_else
from trainables.models.rotary import HeadCounts, RotaryFacts


def facts(config: Config) -> RotaryFacts:
    """The maps to the feed-forward units have no bias, all others do."""
    return RotaryFacts(
        config.model_type, gated=True, norm_vectors=2, attention_bias=True, units_bias=False, output_bias=True,
        head=HeadCounts(),
    )  # fmt: skip


GTE = replace(
    NOMIC_BERT, facts=facts, fit_config=nothing_else, head_marker=ROBERTA.head_marker, head_words=ROBERTA.head_words,
)  # fmt: skip

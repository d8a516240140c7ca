"""The families of encoders that can be distilled: one file each; installed packages add more as "stillhouse.families".

A line is `model_type` in the config of a transformers model, and where its Family is found.
"""

from spaces.registry import Registry
from trainables.models.family import Family

FAMILIES = Registry(
    Family,
    "stillhouse.families",
    {
        "bert": "trainables.models.families.bert:BERT",
        "roberta": "trainables.models.families.roberta:ROBERTA",
        "xlm-roberta": "trainables.models.families.roberta:ROBERTA",
        "camembert": "trainables.models.families.roberta:ROBERTA",
        "ernie": "trainables.models.families.ernie:ERNIE",
        "mpnet": "trainables.models.families.mpnet:MPNET",
        "electra": "trainables.models.families.electra:ELECTRA",
        "albert": "trainables.models.families.albert:ALBERT",
        "distilbert": "trainables.models.families.distilbert:DISTILBERT",
        "modernbert": "trainables.models.families.modernbert:MODERNBERT",
        "nomic_bert": "trainables.models.families.nomic_bert:NOMIC_BERT",
        "gte": "trainables.models.families.gte:GTE",
        "jina_embeddings_v3": "trainables.models.families.jina_embeddings_v3:JINA_EMBEDDINGS_V3",
        "deberta-v2": "trainables.models.families.deberta_v2:DEBERTA_V2",
        "eurobert": "trainables.models.families.eurobert:EUROBERT",
        "ultrabert": "trainables.models.families.ultrabert:ULTRABERT",
        "gemma3_text": "trainables.models.families.gemma3_text:GEMMA3_TEXT",
        "qwen3": "trainables.models.families.qwen3:QWEN3",
    },
)

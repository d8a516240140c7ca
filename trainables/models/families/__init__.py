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
        "distilbert": "trainables.models.families.distilbert:DISTILBERT",
        "modernbert": "trainables.models.families.modernbert:MODERNBERT",
    },
)

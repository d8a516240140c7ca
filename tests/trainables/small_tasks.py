"""Small models, a tokenizer of whole words, and tasks written to files."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaModel,
)

from trainables.tasks.data import TaskData
from trainables.tasks.kind import Recipe, Terms
from trainables.tasks.kinds import KINDS
from trainables.tasks.prepare import load_task, prepare_task
from trainables.tasks.spec import TaskSpec

WORDS = [f"w{i}" for i in range(40)]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = {token: i for i, token in enumerate(SPECIAL + WORDS)}
SHAPE = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 64, "pad_token_id": 0}
LAYERS = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64}


def make_tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", **names)


def make_bert(**changes):
    torch.manual_seed(0)
    return BertModel(BertConfig(**{**SHAPE, **LAYERS, **changes}), add_pooling_layer=False)


def make_classifier(names):
    """One that has these classes."""
    torch.manual_seed(0)
    numbered = {"id2label": dict(enumerate(names)), "label2id": {name: place for place, name in enumerate(names)}}
    return BertForSequenceClassification(BertConfig(**SHAPE, **LAYERS, **numbered))


def make_roberta():
    torch.manual_seed(0)
    return RobertaModel(RobertaConfig(**SHAPE, **LAYERS), add_pooling_layer=False)


def make_distilbert():
    torch.manual_seed(0)
    return DistilBertModel(DistilBertConfig(**SHAPE, n_layers=2, dim=32, n_heads=4, hidden_dim=64))


MODELS = {"bert": make_bert, "roberta": make_roberta, "distilbert": make_distilbert}


def texts(count, rng, words=WORDS):
    return [" ".join(rng.choice(words, rng.integers(3, 12))) for _ in range(count)]


def separable(count, seed):
    """Class 0 is written with the first twenty words, class 1 with the others."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, count)
    return {"text": [texts(1, rng, WORDS[20 * y : 20 * y + 20])[0] for y in labels], "label": labels.tolist()}


def write(folder, suffix="parquet", **splits):
    folder.mkdir(parents=True, exist_ok=True)
    for split, columns in splits.items():
        file = folder / f"{split}.{suffix}"
        if suffix == "parquet":
            pq.write_table(pa.table(columns), file)
        elif suffix == "jsonl":
            rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
            file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            mark = "\t" if suffix == "tsv" else ","
            rows = [mark.join(map(str, row)) for row in zip(*columns.values(), strict=True)]
            file.write_text("\n".join([mark.join(columns), *rows]) + "\n")
    return folder


def write_beir(folder, documents, queries, **qrels):
    """id -> text of documents and queries, and for each split rows of (query, document, grade)."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    for name, texts_by_id in (("corpus", documents), ("queries", queries)):
        rows = [json.dumps({"_id": each, "text": text}) for each, text in texts_by_id.items()]
        (folder / f"{name}.jsonl").write_text("".join(row + "\n" for row in rows))
    for split, rows in qrels.items():
        lines = ["\t".join(map(str, row)) for row in (("query-id", "corpus-id", "score"), *rows)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def prepared(tmp_path, tokenizer, kind="classification", options=None, **splits) -> TaskData:
    source = write(tmp_path / "source", **splits) if splits else tmp_path / "source"
    spec = TaskSpec("toy", str(source), kind, **(options or {}))
    return load_task(prepare_task(spec, tokenizer, tmp_path / "cache"))


def tuned(model, task, split, **options) -> float:
    """The score of fine-tuning with settings of a test's own."""
    run = KINDS[task.kind].protocols["finetune"].run
    predictions = run(model, task, Terms(task.metric, seed=0, recipe=Recipe(**options)))(split)
    return task.metric.function(task.splits[split].labels, predictions.values, task.label_names)

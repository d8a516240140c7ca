"""What was read, and what was left out, stands on the page."""

import dataclasses

from fake_studies import random_rows, write_study

from analysis import load
from analysis.page.data import data_section
from analysis.page.report import page_of

DATA = {
    "corpus": {
        "texts": 12_000, "held_out_texts": 240, "tokens": 2_000_000, "held_out_tokens": 65_536, "sampled": True,
        "unknown": {"de": 0.001, "el": 0.113},
        "files": {"train": [f"part-{i}.txt" for i in range(9)], "test": ["test.txt"], "unused": ["<b>notes</b>.pdf"]},
    },
    "tasks": {
        "package": {"rows": {"train": 3950, "dev": 800}, "classes": 40, "dropped_from_train": 50, "max_length": 64,
                    "full": 0.12, "absent": {"dev": ["a<c", "b", "c", "d", "e"]}, "commonest": 0.815},
        "pairs": {"rows": {"train": 3000, "dev": 500}, "notes": ["files that are not used: more.csv"]},
    },
}  # fmt: skip


def test_the_data_of_a_study(tmp_path):
    study = load(str(write_study(tmp_path, random_rows(4), data=DATA)))
    text = data_section(study)
    for line in (
        "2,000,000 tokens to train on, a sample over all text, of 12,000 texts; 65,536 tokens of 240 texts are held",
        "train: part-0.txt, part-1.txt, part-2.txt, part-3.txt and 5 more; not used, since it is for tests: test.txt",
        "not read: &lt;b&gt;notes&lt;/b&gt;.pdf",
        "unknown to the tokenizer: 11.3% of the tokens of el",
        "train 3,950, dev 800; 40 classes",
        "50 of 4,000 rows of train are not used, since they also stand in dev or test",
        "12% of the texts fill max_length = 64",
        "dev has no row of a&lt;c, b, c, d and 1 more",
        "the teacher scores 0.820, no better than the commonest class of dev with 0.815",
        "files that are not used: more.csv",
    ):
        assert line in text, line
    assert "<b>" not in text and "0.1%" not in text
    assert text in page_of(study)
    without = dataclasses.replace(study, meta=dataclasses.replace(study.meta, data=None))
    assert data_section(without) == ""

"""A small corpus and a small task from the docstrings of installed packages: which of them is a text from?"""

import numpy as np
import pandas as pd

from trainables.text.docstrings import read_file, sources

PACKAGES = ("torch", "pandas", "sympy")


def write_docstring_task(folder):
    """`text/corpus.txt` and `origin/{train,dev,test}.parquet` below a folder."""
    found = {name: [] for name in PACKAGES}
    for package, path in sources():
        if package in found and len(found[package]) < 120:
            found[package] += [text for text, *_ in read_file((package, path)) if len(text) < 300]
    texts = [(text, PACKAGES.index(name)) for name in PACKAGES for text in dict.fromkeys(found[name][:120])]
    order = np.random.default_rng(0).permutation(len(texts))
    rows = pd.DataFrame([texts[i] for i in order], columns=["text", "label"])
    (folder / "text").mkdir()
    (folder / "origin").mkdir()
    (folder / "text" / "corpus.txt").write_text("\n".join(rows.text), encoding="utf-8")
    for split, part in (("train", rows[:200]), ("dev", rows[200:280]), ("test", rows[280:])):
        part.to_parquet(folder / "origin" / f"{split}.parquet")

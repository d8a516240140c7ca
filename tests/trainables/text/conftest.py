"""A small library of made-up docstrings in place of the installed packages."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest

from trainables.text import docstrings as docs
from trainables.text.docs_tasks import MISSING

PACKAGES = ("python", "torch", "transformers", "ray", "pandas", "scipy", "sklearn", "sympy")
WORDS = [f"{a}{b}ing" for a in ("walk", "read", "writ", "count", "sort", "bind") for b in ("", "er", "ab", "ol", "un")]
DOCSTRING = '''def function_{number}():
    """{0} of NumPy and {package} arrays.

    {1}

    Parameters
    ----------
    x : array
        {2}

    Returns:
        {3}

    Notes
    -----
    {4}

    {6}

    Examples
    --------
    {5}

    >>> f(1, 2)[0] == {{}} != [[1, 2], [3, 4]]
    """
'''


@pytest.fixture
def library(tmp_path, monkeypatch):
    """60 docstrings in each package; paragraphs are random words and a small one; one is the same everywhere."""
    rng = np.random.default_rng(0)
    files = []
    for package in PACKAGES:
        functions = []
        for number in range(60):
            texts = [" ".join(np.insert(rng.choice(WORDS, size=12), 5, MISSING[(number + k) % 16])) for k in range(6)]
            functions.append(DOCSTRING.format(*texts, "the very same paragraph in every docstring there is",
                                              number=number, package=package))  # fmt: skip
        path = tmp_path / f"{package}.py"
        path.write_text("\n".join(functions))
        files.append((package, str(path)))
    (tmp_path / "broken.py").write_text('"""A file that does not parse, whatever is written here."""\ndef (')
    monkeypatch.setattr(docs, "sources", lambda: [*files, ("torch", str(tmp_path / "broken.py"))])
    # One thread: CPython 3.11.7 may raise SystemError where several threads call ast.parse at once.
    monkeypatch.setattr(docs, "ProcessPoolExecutor", partial(ThreadPoolExecutor, 1))
    return tmp_path

"""A tokenizer of whole words, and a task that any encoder can learn."""

import pytest
from small_tasks import make_tokenizer, prepared, separable

from trainables.tasks.data import TaskData


@pytest.fixture(scope="session")
def tokenizer():
    return make_tokenizer()


@pytest.fixture
def easy(tmp_path, tokenizer) -> TaskData:
    return prepared(tmp_path, tokenizer, train=separable(300, 0), dev=separable(80, 1), test=separable(80, 2))

"""Scoring a task: what both protocols have in common."""

import numpy as np
import pytest
from small_tasks import make_bert, prepared, texts

from spaces.errors import SpecError
from trainables.tasks.scoring import score_task
from trainables.tasks.spec import EvaluationSpec


@pytest.mark.parametrize("protocol", ["probe", "finetune"])
def test_labels_without_meaning_score_like_chance(tmp_path, tokenizer, protocol):
    rng = np.random.default_rng(5)

    def noise(count):
        return {"text": texts(count, rng), "label": rng.integers(0, 2, count).tolist()}

    task = prepared(tmp_path, tokenizer, train=noise(200), dev=noise(400))
    evaluation = EvaluationSpec(protocol, finetune_epochs=8)
    assert abs(score_task(make_bert(), task, evaluation, ["dev"], 0)["dev"].score - 0.5) < 0.1


def test_wrong_protocol_split_and_length(easy):
    model = make_bert()
    with pytest.raises(SpecError, match="Did you mean 'probe'"):
        score_task(model, easy, EvaluationSpec("prob"), ["dev"], 0)["dev"]
    with pytest.raises(SpecError, match="cannot be scored on 'train'"):
        score_task(model, easy, EvaluationSpec(), ["train"], 0)["train"]
    with pytest.raises(SpecError, match="max_length = 8"):
        score_task(make_bert(max_position_embeddings=8), easy, EvaluationSpec(), ["dev"], 0)["dev"]

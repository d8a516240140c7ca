"""Fine-tuning learns and leaves the model alone."""

import numpy as np
import pytest
import torch
from small_tasks import MODELS, WORDS, make_bert, prepared, texts, tuned


@pytest.mark.parametrize("family", MODELS)
def test_fine_tuning_learns_and_leaves_the_model_alone(easy, family):
    model = MODELS[family]().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    score = tuned(model, easy, "dev", learning_rate=3e-3)
    assert score > 0.95
    assert torch.equal(state, torch.random.get_rng_state())
    assert not model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert score == tuned(model, easy, "dev", learning_rate=3e-3)


def test_fine_tuning_reads_pairs_together_and_regresses(tmp_path, tokenizer):
    """Equal pairs against unrelated ones; telling the two groups apart, blind to the noise within, gives 3/4."""
    rng = np.random.default_rng(0)

    def rows(count):
        first = texts(count, rng, WORDS[:20])
        same = rng.integers(0, 2, count)
        second = [a if y else b for a, b, y in zip(first, texts(count, rng, WORDS[20:]), same, strict=True)]
        return {"text": first, "text2": second, "label": (same + 0.01 * rng.random(count)).tolist()}

    task = prepared(tmp_path, tokenizer, "regression", train=rows(200), dev=rows(80))
    assert task.metric.name == "spearman"
    assert tuned(make_bert(), task, "dev", learning_rate=3e-3) > 0.68

"""Fine-tuning learns and leaves the model alone."""

import numpy as np
import pytest
import torch
from small_tasks import MODELS, WORDS, make_bert, prepared, texts, tuned

from trainables.tasks.kind import Recipe, Terms
from trainables.tasks.protocols.finetune import chosen_rate, usual_epochs
from trainables.tasks.protocols.heads import CLASSES
from trainables.tasks.scoring import score_task
from trainables.tasks.spec import EvaluationSpec


@pytest.mark.parametrize("family", MODELS)
def test_fine_tuning_learns_and_leaves_the_model_alone(easy, family):
    model = MODELS[family]().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    score = tuned(model, easy, "dev", epochs=3, batch_size=32, learning_rates=(3e-3,))
    assert score > 0.95
    assert torch.equal(state, torch.random.get_rng_state())
    assert not model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert score == tuned(model, easy, "dev", epochs=3, batch_size=32, learning_rates=(3e-3,))


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
    assert tuned(make_bert(), task, "dev", epochs=3, batch_size=32, learning_rates=(3e-3,)) > 0.68


def test_a_few_hundred_examples_get_more_passes():
    assert [usual_epochs(count, 16) for count in (10, 500, 3200, 100_000)] == [30, 19, 3, 3]


def test_of_several_learning_rates_the_best_on_held_out_train_is_taken(easy):
    model, recipe = make_bert(), Recipe(epochs=3, batch_size=32, learning_rates=(1e-7, 3e-3))
    assert chosen_rate(model, easy, Terms(easy.metric, 0, recipe=recipe), CLASSES) == 3e-3


def test_several_seeds_count_by_their_mean(easy):
    model, options = make_bert(), {"finetune_epochs": 1, "finetune_learning_rates": (1e-3,)}
    one = [
        score_task(model, easy, EvaluationSpec("finetune", **options), ["dev"], seed)["dev"].score for seed in (0, 1)
    ]
    both = score_task(model, easy, EvaluationSpec("finetune", finetune_seeds=2, **options), ["dev"], 0)["dev"].score
    assert both == pytest.approx(np.mean(one))

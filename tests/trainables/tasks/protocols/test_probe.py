"""The probe, against a slow reference and on tasks with a known answer."""

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_tasks import LAYERS, MODELS, SHAPE, make_bert, prepared, texts
from transformers import BertConfig, BertForMaskedLM

from trainables.models.encoder import hidden_states
from trainables.models.loading import load_model
from trainables.tasks.protocols import probe as probing
from trainables.tasks.protocols.features import likeness_features, pair_features, text_features
from trainables.tasks.protocols.heads import CLASSES
from trainables.tasks.protocols.linear import encoder_digest, fit_linear
from trainables.tasks.protocols.probe import NUM_FOLDS, STRENGTHS, task_features
from trainables.tasks.protocols.solvers import logistic
from trainables.tasks.sampling import generator, stratified_order
from trainables.tasks.scoring import score_task
from trainables.tasks.spec import EvaluationSpec
from trainables.text.ragged import Ragged


@pytest.mark.parametrize("family", MODELS)
def test_the_probe_solves_a_separable_task(easy, family):
    score = score_task(MODELS[family](), easy, EvaluationSpec(), ["dev"], 0)["dev"]
    assert score.score > 0.95
    assert score.metric == "accuracy"
    assert score.layer in (0, 1, 2)
    assert score_task(MODELS[family](), easy, EvaluationSpec(layer="last"), ["dev"], 0)["dev"].layer == 2


def test_a_masked_lm_is_probed_at_its_encoder(easy):
    model = BertForMaskedLM(BertConfig(**SHAPE, **LAYERS))
    assert (
        score_task(model, easy, EvaluationSpec(), ["test"], 0)["test"]
        == score_task(model.bert, easy, EvaluationSpec(), ["test"], 0)["test"]
    )


def test_the_probe_equals_a_slow_reference(tmp_path, tokenizer):
    """One text at a time, scikit-learn's own scaler and pipeline, the choices written out."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(1)
    words = {split: texts(count, rng) for split, count in (("train", 150), ("dev", 100))}
    splits = {
        split: {"text": column, "label": [int(("w1 " in text) + ("w2 " in text)) for text in column]}
        for split, column in words.items()
    }
    task = prepared(tmp_path, tokenizer, train=splits["train"], dev=splits["dev"])
    model = make_bert().eval()

    def slow(split):
        rows = []
        for row in task.splits[split].views["text"]:
            ids = torch.tensor(row.astype(np.int64))[None]
            with torch.inference_mode():
                rows.append([state[0].mean(0).numpy() for state in hidden_states(model, ids, torch.ones_like(ids))])
        return np.array(rows).transpose(1, 0, 2)

    def fitted(features, labels, strength):
        classifier = LogisticRegression(C=strength, max_iter=200, tol=1e-3)
        return make_pipeline(StandardScaler(), classifier).fit(features, labels)

    train, dev = slow("train"), slow("dev")
    labels = np.array(task.splits["train"].labels.values)
    order = stratified_order(labels, generator(7, "held out"))

    def held_loss(layer, strength):
        losses = []
        for held in np.array_split(order, NUM_FOLDS):
            kept = np.array([row for row in order if row not in held])
            pipeline = fitted(train[layer][kept], labels[kept], strength)
            losses += [-pipeline.predict_log_proba(train[layer][[row]])[0, labels[row]] for row in held]
        return np.mean(losses)

    layer, strength = min(itertools.product(range(3), STRENGTHS), key=lambda each: held_loss(*each))
    expected = fitted(train[layer], labels, strength).score(dev[layer], np.array(task.splits["dev"].labels.values))

    score = score_task(model, task, EvaluationSpec(), ["dev"], 7)["dev"]
    assert score.layer == layer
    assert score.score == pytest.approx(expected, abs=0.011)


def test_the_reported_split_has_no_say(easy):
    """Layer and strength are the same whatever split is reported, and the score repeats exactly."""
    model = make_bert()
    dev, test = (score_task(model, easy, EvaluationSpec(), [split], 0)[split] for split in ("dev", "test"))
    assert dev.layer == test.layer
    assert dev == score_task(model, easy, EvaluationSpec(), ["dev"], 0)["dev"]


def overlap(count, seed):
    """Pairs whose target is how many words they share."""
    rng = np.random.default_rng(seed)
    first = [rng.choice(40, 6, replace=False) for _ in range(count)]
    shared = rng.integers(0, 7, count)
    second = [np.concatenate([a[:k], rng.choice(40, 6 - k)]) for a, k in zip(first, shared, strict=True)]
    join = [[" ".join(f"w{i}" for i in row) for row in rows] for rows in (first, second)]
    return {"text": join[0], "text2": join[1], "label": (shared / 6).tolist()}


def test_pair_regression_by_the_probe(tmp_path, tokenizer):
    task = prepared(tmp_path, tokenizer, "regression", train=overlap(400, 0), dev=overlap(150, 1))
    model = make_bert()
    score = score_task(model, task, EvaluationSpec(), ["dev"], 0)["dev"]
    assert score.metric == "spearman"
    assert score.score > 0.6
    assert task_features(model, task, task.splits["dev"], likeness_features).shape == (3, 150, 64)


def test_pair_classification_by_the_probe(tmp_path, tokenizer):
    columns = {split: overlap(count, seed) for split, count, seed in (("train", 400, 0), ("dev", 150, 1))}
    for split in columns.values():
        split["label"] = [int(value > 0.5) for value in split["label"]]
    task = prepared(tmp_path, tokenizer, "pair_classification", **columns)
    model = make_bert()
    assert score_task(model, task, EvaluationSpec(), ["dev"], 0)["dev"].score > 0.75
    assert task_features(model, task, task.splits["dev"], pair_features).shape == (3, 150, 128)


def test_running_out_of_iterations_is_reported(easy, monkeypatch):
    monkeypatch.setattr("trainables.tasks.protocols.solvers.MAX_ITERATIONS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score_task(make_bert(), easy, EvaluationSpec(), ["dev"], 0)["dev"].converged is False
    monkeypatch.undo()
    assert score_task(make_bert(), easy, EvaluationSpec(), ["dev"], 0)["dev"].converged is True


def test_a_fit_serves_every_split_of_the_same_encoder(easy, monkeypatch, tmp_path):
    """Also of one that was written and read again; train is read once, and the scores are those of a new fit."""
    model = make_bert()
    model.save_pretrained(tmp_path / "written")
    dev = score_task(model, easy, EvaluationSpec(), ["dev"], 0)["dev"]
    read, real = [], task_features
    monkeypatch.setattr(probing, "task_features", lambda *args, **more: read.append(args[2]) or real(*args, **more))
    test = score_task(load_model(tmp_path / "written"), easy, EvaluationSpec(), ["test"], 0)["test"]
    assert read == [easy.splits["test"]]
    monkeypatch.setenv("STILLHOUSE_CACHE", str(tmp_path / "another"))
    assert score_task(model, easy, EvaluationSpec(), ["dev", "test"], 0) == {"dev": dev, "test": test}


def test_encoders_that_differ_are_told_apart():
    heads, weights, headed = make_bert(), make_bert(), BertForMaskedLM(BertConfig(**SHAPE, **LAYERS))
    own = encoder_digest(make_bert())
    heads.config.num_attention_heads = 1
    with torch.no_grad():
        next(weights.parameters())[-1, -1] += 1e-6
    assert own == encoder_digest(make_bert())
    assert own not in (encoder_digest(heads), encoder_digest(weights))
    assert encoder_digest(headed) == encoder_digest(headed.bert)


def layered(signals, num_rows=400, seed=0):
    """(features LNF of which each layer holds two classes so strongly, the classes, an order of the rows)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_rows) % 2
    x_LNF = rng.normal(size=(len(signals), num_rows, 6))
    x_LNF[:, :, 0] += np.outer(signals, 2 * labels - 1)
    return x_LNF.astype(np.float32), Ragged(labels, np.arange(num_rows + 1)), rng.permutation(num_rows)


def test_layers_that_cannot_win_are_not_asked_again(monkeypatch):
    fitted = []
    counting = replace(
        CLASSES, linear=lambda x, labels, strength: fitted.append(len(x)) or logistic(x, labels, strength)
    )
    place, strength = probing.chosen_by_folds(*layered([0.1, 0.5, 2.0, 1.9]), counting)
    raced = len(fitted)
    monkeypatch.setattr(probing, "REACH", 1e9)
    assert probing.chosen_by_folds(*layered([0.1, 0.5, 2.0, 1.9]), counting) == (place, strength)
    assert place == 2
    assert len(fitted) - raced == 4 * len(STRENGTHS) * NUM_FOLDS
    assert raced < 0.6 * (len(fitted) - raced)


def test_the_choice_hardly_depends_on_which_rows_are_held_out():
    """One layer holds a little more than another; by the accuracy on one fifth it is found in half of the orders."""
    found, by_accuracy = [], []
    x_LNF, labels, _ = layered([0.9, 1.1, 0.3], num_rows=300, seed=1)
    for seed in range(12):
        order = np.random.default_rng(seed).permutation(300)
        found.append(probing.chosen_by_folds(x_LNF, labels, order, CLASSES)[0])
        held, rest = order[:60], order[60:]
        fits = [fit_linear(CLASSES, x[rest], labels.values[rest], 0.1) for x in x_LNF]
        scores = [np.mean(fit.predict(x[held]) == labels.values[held]) for fit, x in zip(fits, x_LNF, strict=True)]
        by_accuracy.append(int(np.argmax(scores)))
    assert found == [1] * 12
    assert by_accuracy.count(1) < 9


@pytest.mark.parametrize(("num_rows", "expected"), [(2, 0), (7, 1)])
def test_few_rows_are_folds_of_their_own(num_rows, expected):
    """Of two, each is held out from a fit that has seen one class alone, which tells nothing: the first is taken."""
    assert probing.chosen_by_folds(*layered([0.1, 3.0], num_rows=num_rows), CLASSES)[0] == expected


def test_a_probe_in_bfloat16_says_the_same(easy, monkeypatch):
    """Features in half the bits, and a fit of its own in the cache; what is compared on one fit is read exactly."""
    model, seen = make_bert().eval(), []
    model.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    exact, rounded = (
        score_task(model, easy, EvaluationSpec(precision=precision), ["dev"], 0)["dev"]
        for precision in ("fp32", "bf16")
    )
    assert True in seen and seen.index(True) == seen.count(False)
    assert rounded.layer == exact.layer
    assert rounded.score == pytest.approx(exact.score, abs=0.02)
    first = len(seen)
    score_task(model, easy, EvaluationSpec(precision="bf16"), ["dev"], 0, fitted_on=make_bert())
    assert not any(seen[first:])


def test_features_in_bfloat16_are_close_to_exact_ones(easy):
    model = make_bert().eval()
    exact, rounded = (
        task_features(model, easy, easy.splits["dev"], text_features, bf16=bf16) for bf16 in (False, True)
    )
    assert rounded.dtype == np.float32
    assert 0 < np.abs(rounded - exact).max() < 0.03

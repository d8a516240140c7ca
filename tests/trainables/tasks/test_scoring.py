"""Task data (reading, checking, cutting, tokenising) and both scoring protocols, on synthetic tasks."""

import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_tasks import (
    LAYERS,
    MODELS,
    SHAPE,
    VOCABULARY,
    WORDS,
    make_bert,
    make_roberta,
    make_tokenizer,
    prepared,
    separable,
    texts,
    write,
)
from transformers import (
    BertConfig,
    BertForMaskedLM,
)

from spaces.errors import SpecError
from trainables.models.encoder import hidden_states
from trainables.tasks.data import (
    Encoded,
    TaskData,
    generator,
    strata_of,
    stratified_order,
    tokenizer_digest,
)
from trainables.tasks.finetune import finetune
from trainables.tasks.metrics import METRICS, f1, spearman
from trainables.tasks.probe import HELD_OUT_SHARE, STRENGTHS, encoded_features, length_batches, padded, task_features
from trainables.tasks.scoring import check_gap, load_task, prepare_task, recovered, score_task, worst_language
from trainables.tasks.spec import TaskSpec, task_problems


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer()


@pytest.mark.parametrize("suffix", ["parquet", "jsonl", "csv", "tsv"])
def test_every_file_kind_gives_the_same_arrays(tmp_path, tokenizer, suffix):
    columns = {"train": separable(30, 0), "dev": separable(10, 1)}
    spec = TaskSpec("toy", str(write(tmp_path / "data", suffix, **columns)), "classification")
    task = load_task(prepare_task(spec, tokenizer, tmp_path / "cache"))
    assert task.splits["dev"].labels.tolist() == columns["dev"]["label"]
    for row, text in enumerate(columns["dev"]["text"]):
        assert task.splits["dev"].views["text"][row].tolist() == tokenizer(text)["input_ids"]
    assert task.label_names == ("0", "1")
    assert task.size("test") == 0


def test_a_stem_and_the_name_validation(tmp_path, tokenizer):
    write(tmp_path, **{"toy-train": separable(30, 0), "toy-validation": separable(12, 1)})
    task = load_task(
        prepare_task(TaskSpec("toy", str(tmp_path / "toy"), "classification"), tokenizer, tmp_path / "cache")
    )
    assert task.size("dev") == 12


def test_class_names_from_metadata_and_from_texts(tmp_path, tokenizer):
    features = {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table(separable(30, 0)).replace_schema_metadata(metadata)
    (tmp_path / "a").mkdir()
    pq.write_table(table, tmp_path / "a" / "train.parquet")
    task = load_task(prepare_task(TaskSpec("a", str(tmp_path / "a"), "classification"), tokenizer, tmp_path))
    assert task.label_names == ("bad", "good")
    named = {"text": texts(6, np.random.default_rng(0)), "label": ["y", "x", "y", "x", "x", "y"]}
    task = prepared(tmp_path, tokenizer, train=named, dev=named | {"text": ["w1"] * 6})
    assert task.label_names == ("x", "y")
    assert task.splits["dev"].labels.tolist() == [1, 0, 1, 0, 0, 1]


def test_preparing_twice_is_one_folder_and_content_names_it(tmp_path, tokenizer):
    source = write(tmp_path / "source", train=separable(40, 0), dev=separable(10, 1))
    spec = TaskSpec("toy", str(source), "classification")
    first = prepare_task(spec, tokenizer, tmp_path / "cache")
    stamp = (first / "meta.json").stat().st_mtime_ns
    tokenizer(["w1"], padding="max_length", max_length=9, truncation=True)
    assert prepare_task(spec, tokenizer, tmp_path / "cache") == first
    assert (first / "meta.json").stat().st_mtime_ns == stamp
    assert (
        prepare_task(TaskSpec("toy", str(source), "classification", max_length=8), tokenizer, tmp_path / "cache")
        != first
    )
    write(source, dev=separable(10, 2))
    assert prepare_task(spec, tokenizer, tmp_path / "cache") != first
    assert not [path for path in (tmp_path / "cache" / "tasks").iterdir() if path.name.startswith(".")]


def test_a_tokenizer_with_another_vocabulary_has_another_digest(tokenizer):
    other = make_tokenizer()
    assert tokenizer_digest(other) == tokenizer_digest(tokenizer)
    other.add_tokens(["extra"])
    assert tokenizer_digest(other) != tokenizer_digest(tokenizer)


def test_train_rows_that_stand_in_dev_or_test_are_dropped_and_counted(tmp_path, tokenizer):
    train, dev = separable(50, 0), separable(10, 1)
    test = {"text": train["text"][:3], "label": train["label"][:3]}
    test["label"][0] = 1 - test["label"][1]
    dev["text"][0] = train["text"][9]
    task = prepared(tmp_path, tokenizer, train=train, dev=dev, test=test)
    leaked = {*dev["text"], *test["text"]}
    assert task.meta["dropped_from_train"] == sum(text in leaked for text in train["text"]) >= 4
    assert (task.size("train"), task.size("dev"), task.size("test")) == (50 - task.meta["dropped_from_train"], 10, 3)


def test_a_pair_leaks_only_when_both_texts_do(tmp_path, tokenizer):
    rng = np.random.default_rng(0)
    train = {"text": texts(20, rng), "text2": texts(20, rng), "label": [0, 1] * 10}
    dev = {"text": train["text"][:4], "text2": [*train["text2"][:1], "w1", "w2", "w3"], "label": [0, 1, 0, 1]}
    task = prepared(tmp_path, tokenizer, "pair_classification", train=train, dev=dev)
    assert task.meta["dropped_from_train"] == 1
    assert task.is_pair


def test_pairs_are_stored_apart_and_together(tmp_path, tokenizer):
    pair = {"text": ["w1 w2", "w3"], "text2": ["w4", "w5 w6"], "label": [0, 1]}
    task = prepared(tmp_path, tokenizer, "pair_classification", train=pair | {"text": ["w7", "w8"]}, dev=pair)
    views = task.splits["dev"].views
    assert views["text"][0].tolist() == [2, VOCABULARY["w1"], VOCABULARY["w2"], 3]
    assert views["text2"][1].tolist() == [2, VOCABULARY["w5"], VOCABULARY["w6"], 3]
    assert views["pair"][0].tolist() == [2, VOCABULARY["w1"], VOCABULARY["w2"], 3, VOCABULARY["w4"], 3]


def test_without_dev_a_stratified_tenth_of_train_becomes_dev(tmp_path, tokenizer):
    rng = np.random.default_rng(0)
    train = {"text": [f"{text} {text}" for text in dict.fromkeys(texts(400, rng))][:200], "label": [0] * 150 + [1] * 50}
    task = prepared(tmp_path, tokenizer, train=train)
    assert np.bincount(task.splits["dev"].labels).tolist() == [15, 5]
    assert np.bincount(task.splits["train"].labels).tolist() == [135, 45]


def test_samples_keep_the_proportions(tmp_path, tokenizer):
    rng = np.random.default_rng(0)
    train = {"text": texts(300, rng), "label": [0] * 200 + [1] * 100}
    task = prepared(tmp_path, tokenizer, options={"max_train": 30, "max_dev": 9}, train=train, dev=separable(40, 1))
    assert np.bincount(task.splits["train"].labels).tolist() == [20, 10]
    assert task.size("dev") == 9
    targets = np.linspace(0, 5, 200, dtype=np.float32)
    order = stratified_order(strata_of(targets), generator(0, "x"))
    assert np.histogram(targets[order[:20]], bins=10, range=(0, 5))[0].tolist() == [2] * 10


def test_every_beginning_of_a_stratified_order_is_stratified():
    strata = np.array([0] * 60 + [1] * 30 + [2] * 10)
    order = stratified_order(strata, generator(3, "x"))
    assert sorted(order) == list(range(100))
    for count in range(101):
        shares = np.bincount(strata[order[:count]], minlength=3)
        assert np.all(np.abs(shares - count * np.array([0.6, 0.3, 0.1])) <= 1.0)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dev": {"text": ["a", None], "label": [0, 1]}}, ["dev", "'text'", "row 1", "None"]),
        ({"dev": {"words": ["a", "b"], "label": [0, 1]}}, ["dev", "no column 'text'", "words"]),
        ({"dev": {"text": ["a", "b"], "label": [0, 7]}}, ["dev", "row 1", "7", "0 to 1"]),
        ({"dev": {"text": ["a", "b"], "label": [0, -1]}}, ["dev", "row 1", "-1"]),
        ({"dev": {"text": pa.array([], pa.string()), "label": pa.array([], pa.int64())}}, ["dev", "empty"]),
        ({"train": {"text": ["a", "b"], "label": [1, 1]}}, ["train", "one class"]),
        ({"dev": {"text": ["a", "b"], "label": [1, 1]}}, ["dev", "one class"]),
    ],
)
def test_bad_rows_are_refused_by_name(tmp_path, tokenizer, change, words):
    with pytest.raises(SpecError) as caught:
        prepared(tmp_path, tokenizer, **{"train": separable(20, 0), "dev": separable(10, 1), **change})
    for word in ["'toy'", *words]:
        assert word in str(caught.value)
    assert not list((tmp_path / "cache").glob("tasks/toy-*"))


def test_regression_targets_must_be_finite(tmp_path, tokenizer):
    rng = np.random.default_rng(0)
    train = {"text": texts(3, rng), "text2": texts(3, rng), "label": [0.5, float("nan"), 1.0]}
    with pytest.raises(SpecError, match="row 1 is nan, not a finite number"):
        prepared(tmp_path, tokenizer, "regression", train=train)


def test_all_problems_of_a_spec_at_once(tmp_path, tokenizer):
    with pytest.raises(SpecError) as caught:
        spec = TaskSpec("t", "x", "clasification", max_train=1, max_length=2, metric="acuracy")
        prepare_task(spec, tokenizer, tmp_path)
    found = caught.value.problems
    assert len(found) == 4 and all(problem.startswith("task 't':") for problem in found)
    assert "Did you mean 'classification'?" in found[0]
    assert "Did you mean 'accuracy'?" in found[3]
    assert task_problems(TaskSpec("t", "x", "regression", metric="f1"))
    assert not task_problems(TaskSpec("t", "x", "regression"))


def test_missing_files_and_two_files_of_one_split(tmp_path, tokenizer):
    with pytest.raises(SpecError, match="no file"):
        prepare_task(TaskSpec("toy", str(tmp_path / "nothing"), "classification"), tokenizer, tmp_path)
    source = write(tmp_path / "source", train=separable(20, 0))
    write(source, "jsonl", train=separable(20, 0))
    with pytest.raises(SpecError, match="both hold"):
        prepare_task(TaskSpec("toy", str(source), "classification"), tokenizer, tmp_path)


def test_a_folder_without_meta_is_not_a_task(tmp_path):
    with pytest.raises(SpecError, match="not a prepared task"):
        load_task(tmp_path)


def encoded(rows) -> Encoded:
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
    return Encoded(np.concatenate(rows).astype(np.int32), offsets)


@pytest.mark.parametrize("family", MODELS)
def test_encoded_features_do_not_see_padding(family):
    """Batched with right padding, padded on the left by hand, and alone without padding: the same features."""
    model = MODELS[family]().eval()
    rng = np.random.default_rng(0)
    rows = [rng.integers(5, len(VOCABULARY), rng.integers(3, 20)) for _ in range(12)]
    batched = encoded_features(model, encoded(rows), pad_id=0)
    with torch.inference_mode():
        for i, row in enumerate(rows):
            alone = hidden_states(model, torch.tensor(row)[None], torch.ones(1, len(row), dtype=torch.int64))
            for layer, state in enumerate(alone):
                np.testing.assert_allclose(batched[layer, i], state[0].mean(0).numpy(), atol=2e-6)
    deepest = encoded_features(model, encoded(rows), 0, layers=[1])
    np.testing.assert_allclose(deepest[0], batched[1], atol=1e-6)


def test_left_padding_gives_the_same_layer_means():
    """RoBERTa numbers positions by the ids, so the left-padded text keeps its own."""
    model = make_roberta().eval()
    row = np.arange(5, 15)
    ids, mask = padded([row, np.arange(5, 25)], 0)
    left_ids, left_mask = ids.flip(1).clone(), mask.flip(1)
    left_ids[0, -len(row) :] = torch.from_numpy(row)
    with torch.inference_mode():
        right = hidden_states(model, ids, mask)[-1][0, : len(row)].mean(0)
        left = hidden_states(model, left_ids, left_mask)[-1][0, -len(row) :].mean(0)
    torch.testing.assert_close(left, right, atol=2e-6, rtol=0)


def test_length_batches_cover_all_rows_once_within_the_budget():
    lengths = np.random.default_rng(0).integers(1, 60, 200)
    batches = list(length_batches(lengths, 128))
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert all(lengths[batch].max() * len(batch) <= 128 for batch in batches)
    assert [len(batch) for batch in length_batches(np.array([500, 500]), 128)] == [1, 1]


@pytest.fixture
def easy(tmp_path, tokenizer) -> TaskData:
    return prepared(tmp_path, tokenizer, train=separable(300, 0), dev=separable(80, 1), test=separable(80, 2))


@pytest.mark.parametrize("family", MODELS)
def test_the_probe_solves_a_separable_task(easy, family):
    score = score_task(MODELS[family](), easy, "probe", ["dev"], 0)["dev"]
    assert score.score > 0.95
    assert score.metric == "accuracy"
    assert score.layer in (0, 1, 2)


def test_a_masked_lm_is_probed_at_its_encoder(easy):
    model = BertForMaskedLM(BertConfig(**SHAPE, **LAYERS))
    assert (
        score_task(model, easy, "probe", ["test"], 0)["test"]
        == score_task(model.bert, easy, "probe", ["test"], 0)["test"]
    )


@pytest.mark.parametrize("protocol", ["probe", "finetune"])
def test_labels_without_meaning_score_like_chance(tmp_path, tokenizer, protocol):
    rng = np.random.default_rng(5)

    def noise(count):
        return {"text": texts(count, rng), "label": rng.integers(0, 2, count).tolist()}

    task = prepared(tmp_path, tokenizer, train=noise(200), dev=noise(400))
    assert abs(score_task(make_bert(), task, protocol, ["dev"], 0)["dev"].score - 0.5) < 0.1


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
    labels = np.array(task.splits["train"].labels)
    order = stratified_order(strata_of(labels), generator(7, "held out"))
    count = round(HELD_OUT_SHARE * len(order))
    held, kept = order[:count], order[count:]
    held_scores = {
        (layer, strength): fitted(train[layer][kept], labels[kept], strength).score(train[layer][held], labels[held])
        for layer in range(3)
        for strength in STRENGTHS
    }
    layer = max(range(3), key=lambda value: held_scores[value, 0.1])
    strength = max(STRENGTHS, key=lambda value: (held_scores[layer, value], -value))
    expected = fitted(train[layer], labels, strength).score(dev[layer], np.array(task.splits["dev"].labels))

    score = score_task(model, task, "probe", ["dev"], 7)["dev"]
    assert score.layer == layer
    assert score.score == pytest.approx(expected, abs=0.011)


def test_the_reported_split_has_no_say(easy):
    """Layer and strength are the same whatever split is reported, and the score repeats exactly."""
    model = make_bert()
    dev, test = (score_task(model, easy, "probe", [split], 0)[split] for split in ("dev", "test"))
    assert dev.layer == test.layer
    assert dev == score_task(model, easy, "probe", ["dev"], 0)["dev"]


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
    score = score_task(model, task, "probe", ["dev"], 0)["dev"]
    assert score.metric == "spearman"
    assert score.score > 0.6
    assert task_features(model, task, task.splits["dev"]).shape == (3, 150, 64)


def test_pair_classification_by_the_probe(tmp_path, tokenizer):
    columns = {split: overlap(count, seed) for split, count, seed in (("train", 400, 0), ("dev", 150, 1))}
    for split in columns.values():
        split["label"] = [int(value > 0.5) for value in split["label"]]
    task = prepared(tmp_path, tokenizer, "pair_classification", **columns)
    model = make_bert()
    assert score_task(model, task, "probe", ["dev"], 0)["dev"].score > 0.75
    assert task_features(model, task, task.splits["dev"]).shape == (3, 150, 128)


@pytest.mark.parametrize("family", MODELS)
def test_fine_tuning_learns_and_leaves_the_model_alone(easy, family):
    model = MODELS[family]().eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(11)
    state = torch.random.get_rng_state()
    score = finetune(model, easy, 0, learning_rate=3e-3)("dev")
    assert score.score > 0.95
    assert score.layer is None
    assert torch.equal(state, torch.random.get_rng_state())
    assert not model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert score == finetune(model, easy, 0, learning_rate=3e-3)("dev")


def test_fine_tuning_reads_pairs_together_and_regresses(tmp_path, tokenizer):
    """Equal pairs against unrelated ones; telling the two groups apart, blind to the noise within, gives 3/4."""
    rng = np.random.default_rng(0)

    def rows(count):
        first = texts(count, rng, WORDS[:20])
        same = rng.integers(0, 2, count)
        second = [a if y else b for a, b, y in zip(first, texts(count, rng, WORDS[20:]), same, strict=True)]
        return {"text": first, "text2": second, "label": (same + 0.01 * rng.random(count)).tolist()}

    task = prepared(tmp_path, tokenizer, "regression", train=rows(200), dev=rows(80))
    score = finetune(make_bert(), task, 0, learning_rate=3e-3)("dev")
    assert score.metric == "spearman"
    assert score.score > 0.68


def test_running_out_of_iterations_is_reported(easy, monkeypatch):
    monkeypatch.setattr("trainables.tasks.probe.MAX_ITERATIONS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert score_task(make_bert(), easy, "probe", ["dev"], 0)["dev"].converged is False
    monkeypatch.undo()
    assert score_task(make_bert(), easy, "probe", ["dev"], 0)["dev"].converged is True


def test_wrong_protocol_split_and_length(easy):
    model = make_bert()
    with pytest.raises(SpecError, match="Did you mean 'probe'"):
        score_task(model, easy, "prob", ["dev"], 0)["dev"]
    with pytest.raises(SpecError, match="cannot be scored on 'train'"):
        score_task(model, easy, "probe", ["train"], 0)["train"]
    with pytest.raises(SpecError, match="max_length = 8"):
        score_task(make_bert(max_position_embeddings=8), easy, "probe", ["dev"], 0)["dev"]


def test_metrics_against_closed_forms():
    targets, answers = np.array([1, 1, 1, 0, 0, 0]), np.array([1, 1, 0, 0, 0, 1])
    assert METRICS["accuracy"](targets, answers) == pytest.approx(4 / 6)
    assert f1(targets, answers) == pytest.approx(2 / 3)
    assert METRICS["matthews"](targets, answers) == pytest.approx((2 * 2 - 1 * 1) / 9)
    assert spearman(np.arange(5.0), np.arange(5.0) ** 3) == pytest.approx(1.0)
    assert spearman(np.arange(5.0), -np.arange(5.0)) == pytest.approx(-1.0)
    assert spearman(np.arange(5.0), np.zeros(5)) == 0.0


def test_share_recovered_and_the_gap():
    assert recovered(0.67, 0.81, 0.67) == 0.0
    assert recovered(0.81, 0.81, 0.67) == 1.0
    assert recovered(0.74, 0.81, 0.67) == pytest.approx(0.5)
    check_gap("sst2", 0.81, 0.67)
    with pytest.raises(SpecError, match=r"task 'sst2': teacher scores 0.680, hardly above its floor 0.670"):
        check_gap("sst2", 0.68, 0.67)
    with pytest.raises(SpecError):
        check_gap("sst2", float("nan"), 0.67)


def test_the_worst_language_is_the_smallest_mean_over_its_tasks():
    shares = {"pos_en": 0.9, "nli_en": 0.1, "pos_de": 0.6, "nli_de": 0.2, "other": -1.0}
    languages = {"pos_en": "en", "nli_en": "en", "pos_de": "de", "nli_de": "de"}
    assert worst_language(shares, languages) == ("de", pytest.approx(0.4))
    assert worst_language({"a": 0.5, "b": 0.5}, {"a": "zh", "b": "ar"}) == ("ar", 0.5)

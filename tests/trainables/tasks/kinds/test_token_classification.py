"""Token classification: reading and checking, words at their first sub-tokens, the probe and fine-tuning."""

import itertools
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from small_tasks import MODELS, VOCABULARY, WORDS, make_bert, prepared, tuned, write
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from spaces.errors import SpecError
from trainables.models.encoder import hidden_states
from trainables.tasks.kind import Terms
from trainables.tasks.protocols.features import word_features
from trainables.tasks.protocols.heads import CLASSES
from trainables.tasks.protocols.linear import fit_linear
from trainables.tasks.protocols.probe import NUM_FOLDS, STRENGTHS, probe, task_features
from trainables.tasks.sampling import generator, stratified_order
from trainables.tasks.scoring import load_task, prepare_task, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec

KIND = "token_classification"
UPOS = {"label_column": "upos"}


def piecewise() -> PreTrainedTokenizerFast:
    """Words of several letters fall apart into single letters."""
    letters = [chr(code) for code in range(97, 107)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    model = models.WordPiece({piece: i for i, piece in enumerate(pieces)}, unk_token="[UNK]")
    backend = Tokenizer(model)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, mask_token="[MASK]", **names)


def tagged(count, seed, shift=0):
    """The tag of a word is which third of the vocabulary it is from."""
    rng = np.random.default_rng(seed)
    numbers = [rng.integers(0, 39, rng.integers(4, 9)) for _ in range(count)]
    return {
        "tokens": [[WORDS[(i + shift) % 39] for i in row] for row in numbers],
        "upos": [[int(i) // 13 for i in row] for row in numbers],
    }


def written(source, suffix, columns):
    """The columns of each split as a file of that kind."""
    if suffix == "parquet":
        write(source, **columns)
        return
    source.mkdir()
    for split, table in columns.items():
        rows = [{"tokens": t, "upos": u} for t, u in zip(table["tokens"], table["upos"], strict=True)]
        (source / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def easy(tmp_path, tokenizer):
    return prepared(tmp_path, tokenizer, KIND, UPOS, train=tagged(80, 0), dev=tagged(30, 1), test=tagged(30, 2))


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_words_and_tags_come_out_as_they_went_in(tmp_path, tokenizer, suffix):
    columns = {"train": tagged(10, 0), "dev": tagged(5, 1)}
    source = tmp_path / "data"
    written(source, suffix, columns)
    task = load_task(prepare_task(TaskSpec("toy", str(source), KIND, **UPOS), tokenizer, tmp_path / "cache"))
    dev = task.splits["dev"]
    assert (task.metric.name, task.label_names, len(dev)) == ("accuracy", ("0", "1", "2"), 5)
    assert dev.labels.values.tolist() == [tag for tags in columns["dev"]["upos"] for tag in tags]
    for row, words in enumerate(columns["dev"]["tokens"]):
        assert dev.views["text"][row].tolist() == [2, *(VOCABULARY[word] for word in words), 3]
        assert dev.views["words"][row].tolist() == list(range(1, len(words) + 1))
    assert task.meta["labels_dropped"] == {"train": 0, "dev": 0}


@pytest.mark.parametrize(("absent", "suffix"), [(None, "parquet"), (None, "jsonl"), (-100, "jsonl")])
def test_words_without_a_tag_are_read_and_not_scored(tmp_path, tokenizer, absent, suffix):
    """Every second word has none: the same as a task of all words, at the others."""
    whole = {"train": tagged(10, 0), "dev": tagged(5, 1)}
    source, said = tmp_path / "data", []
    halved = {
        split: {**table, "upos": [[absent if i % 2 else tag for i, tag in enumerate(tags)] for tags in table["upos"]]}
        for split, table in whole.items()
    }
    written(source, suffix, halved)
    spec = TaskSpec("toy", str(source), KIND, **UPOS)
    dev = load_task(prepare_task(spec, tokenizer, tmp_path / "cache", say=said.append)).splits["dev"]
    assert dev.labels.values.tolist() == [tag for tags in whole["dev"]["upos"] for tag in tags[::2]]
    for row, words in enumerate(whole["dev"]["tokens"]):
        assert dev.views["text"][row].tolist() == [2, *(VOCABULARY[word] for word in words), 3]
        assert dev.views["words"][row].tolist() == list(range(1, len(words) + 1, 2))
    words = sum(len(tags) for table in whole.values() for tags in table["upos"])
    scored = sum(len(tags[::2]) for table in whole.values() for tags in table["upos"])
    none = f"task toy: {words - scored} of {words} words have no tag (null or -100); they are read and not scored"
    assert said == [none]


def test_tag_names_from_metadata_from_texts_and_in_ids(tmp_path, tokenizer):
    feature = {"feature": {"names": ["x", "y", "z"], "_type": "ClassLabel"}, "_type": "List"}
    metadata = {"huggingface": json.dumps({"info": {"features": {"upos": feature}}})}
    (tmp_path / "a").mkdir()
    pq.write_table(pa.table(tagged(9, 0)).replace_schema_metadata(metadata), tmp_path / "a" / "train.parquet")
    task = load_task(prepare_task(TaskSpec("a", str(tmp_path / "a"), KIND, **UPOS), tokenizer, tmp_path))
    assert task.label_names == ("x", "y", "z")
    words = {"tokens": [["w1", "w2"], ["w3"]], "upos": [["O", "B-A"], ["O"]]}
    dev = {"tokens": [["w4", "w5"]], "upos": [["B-A", "I-A"]]}
    task = prepared(tmp_path, tokenizer, KIND, UPOS | {"metric": "entity_f1"}, train=words, dev=dev)
    assert task.label_names == ("B-A", "I-A", "O")
    assert task.splits["dev"].labels.values.tolist() == [0, 1]


def test_a_word_stands_at_its_first_sub_token_and_truncation_drops_words(tmp_path):
    columns = {"tokens": [["abc", "d", "  ", "ef"], ["abcdef", "gh"]], "upos": [[0, 1, 2, 0], [1, 2]]}
    train = {"tokens": [["a"], ["b"]], "upos": [[0], [1]]}
    task = prepared(tmp_path, piecewise(), KIND, UPOS, train=train, dev=columns)
    dev = task.splits["dev"]
    assert [dev.views["words"][row].tolist() for row in range(2)] == [[1, 4, 5], [1, 7]]
    assert dev.labels.values.tolist() == [0, 1, 0, 1, 2]
    assert task.meta["labels_dropped"] == {"train": 0, "dev": 1}
    task = prepared(tmp_path, piecewise(), KIND, UPOS | {"max_length": 7}, train=train, dev=columns)
    dev = task.splits["dev"]
    assert [dev.views["words"][row].tolist() for row in range(2)] == [[1, 4, 5], [1]]
    assert dev.labels.values.tolist() == [0, 1, 0, 1]
    assert dev.views["text"].lengths().tolist() == [7, 7]
    assert task.meta["labels_dropped"] == {"train": 0, "dev": 2}


def test_byte_level_words_have_a_space_before_them(tmp_path):
    """As within a text, although the tokenizer would not put one before the first word of it."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["<s>", "</s>", "<pad>", "<unk>", "<mask>", *alphabet, "Ġa"]
    backend = Tokenizer(models.BPE({piece: i for i, piece in enumerate(pieces)}, [("Ġ", "a")], unk_token="<unk>"))
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    backend.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0), add_prefix_space=False)
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    own = PreTrainedTokenizerFast(
        tokenizer_object=backend, cls_token="<s>", sep_token="</s>", mask_token="<mask>", **special
    )
    rows = {"tokens": [["a", "ba"], ["b"]], "upos": [[0, 1], [0]]}
    task = prepared(tmp_path, own, KIND, UPOS, train=rows, dev=rows | {"tokens": [["a", "aa"], ["a"]]})
    found = own.convert_ids_to_tokens(task.splits["train"].views["text"][0].tolist())
    assert found == ["<s>", "Ġa", "Ġ", "b", "a", "</s>"]
    assert task.splits["train"].views["words"][0].tolist() == [1, 2]


def test_sentences_that_stand_in_dev_are_dropped_from_train(tmp_path, tokenizer):
    train, dev = tagged(20, 0), tagged(5, 1)
    dev["tokens"][2], dev["upos"][2] = train["tokens"][7], train["upos"][7]
    task = prepared(tmp_path, tokenizer, KIND, UPOS, train=train, dev=dev)
    assert (task.meta["dropped_from_train"], len(task.splits["train"])) == (1, 19)
    assert (
        prepared(tmp_path, tokenizer, KIND, UPOS | {"max_train": 7}, train=train, dev=dev).meta["sizes"]["train"] == 7
    )


@pytest.mark.parametrize(
    ("dev", "words"),
    [
        ({"tokens": ["a b", "c"], "upos": [[0, 1], [0]]}, ["'tokens'", "row 0", "'a b', not a list of words"]),
        ({"tokens": [["a"], ["b", "c"]], "upos": [[0], [1]]}, ["row 1", "2 words but 1 tags in 'upos'"]),
        ({"tokens": [["a"], []], "upos": [[0], []]}, ["row 1", "has no words"]),
        ({"tokens": [["a"], ["b"]], "upos": [0, 1]}, ["'upos'", "row 0", "0, not a list of tags"]),
        ({"tokens": [["a"], ["b", "c"]], "upos": [[0], [1, 9]]}, ["row 1", "tag 9", "not one of x, y, z"]),
        ({"words": [["a"]], "upos": [[0]]}, ["no column 'tokens'", "words"]),
        ({"tokens": [["a"], ["b"]], "upos": [[1], [1]]}, ["dev", "one class or target only"]),
    ],
)
def test_bad_rows_are_refused_by_name(tmp_path, tokenizer, dev, words):
    names = {"upos": {"feature": {"names": ["x", "y", "z"]}, "_type": "List"}}
    source = write(tmp_path / "source", dev=dev)
    table = pa.table(tagged(9, 0)).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": names}})})
    pq.write_table(table, source / "train.parquet")
    with pytest.raises(SpecError) as caught:
        prepare_task(TaskSpec("toy", str(source), KIND, **UPOS), tokenizer, tmp_path / "cache")
    for word in ["'toy'", *words]:
        assert word in str(caught.value)


def test_all_problems_of_both_splits_at_once(tmp_path, tokenizer):
    bad = {"tokens": [["a"], ["b", "c"], []], "upos": [[0], [1], []]}
    with pytest.raises(SpecError) as caught:
        prepared(tmp_path, tokenizer, KIND, UPOS, train=bad, dev=bad)
    assert len(caught.value.problems) == 4


def test_entity_f1_is_for_bio_tags_and_words_only(tmp_path, tokenizer):
    with pytest.raises(SpecError, match=r"entity_f1 needs tags O, B-X and I-X; there is 0 in"):
        prepared(tmp_path, tokenizer, KIND, UPOS | {"metric": "entity_f1"}, train=tagged(9, 0))


@pytest.mark.parametrize("family", MODELS)
def test_features_are_the_states_at_the_words(easy, family):
    """Batched and padded, against one sentence at a time without padding."""
    model = MODELS[family]().eval()
    found = task_features(model, easy, easy.splits["dev"], word_features)
    slow = []
    for row in range(len(easy.splits["dev"])):
        ids = torch.from_numpy(easy.splits["dev"].views["text"][row].astype(np.int64))[None]
        with torch.inference_mode():
            states = hidden_states(model, ids, torch.ones_like(ids))
        slow.append(np.stack([state[0, 1:-1].numpy() for state in states]))
    np.testing.assert_allclose(found, np.concatenate(slow, axis=1), atol=3e-6)


def test_the_probe_equals_a_slow_reference(easy):
    """With a cap on words: which sentences are fitted and which held out, written out sentence by sentence."""
    model, train, dev = make_bert().eval(), easy.splits["train"], easy.splits["dev"]
    order = stratified_order(np.zeros(len(train), dtype=int), generator(3, "held out"))
    chosen, words = [], 0
    while words + len(train.labels[order[len(chosen)]]) <= 200:
        words += len(train.labels[order[len(chosen)]])
        chosen.append(order[len(chosen)])
    features, labels = task_features(model, easy, train, word_features), train.labels.values

    def words_of(rows):
        return np.concatenate([train.labels.indices(np.array([row])) for row in rows])

    def fit(layer, strength, rows):
        return fit_linear(CLASSES, features[layer][words_of(rows)], labels[words_of(rows)], strength)

    def held_loss(layer, strength):
        losses = []
        for held in np.array_split(np.array(chosen), NUM_FOLDS):
            rest = sorted(set(chosen) - set(held))
            losses += [*fit(layer, strength, rest).losses(features[layer][words_of(held)], labels[words_of(held)])]
        return np.mean(losses)

    layer, strength = min(itertools.product(range(3), STRENGTHS), key=lambda each: held_loss(*each))
    expected = fit(layer, strength, sorted(chosen)).predict(task_features(model, easy, dev, word_features)[layer])
    found = probe(model, easy, Terms(easy.metric, 3), features=word_features, head=CLASSES, max_labels=200)("dev")
    assert found.layer == layer
    assert found.values.tolist() == expected.tolist()
    assert 0.5 < np.mean(found.values == dev.labels.values) < 1.0


@pytest.mark.parametrize("protocol", ["probe", "finetune"])
def test_tags_without_meaning_score_like_chance(tmp_path, tokenizer, protocol):
    rng = np.random.default_rng(0)

    def noise(seed):
        columns = tagged(100, seed)
        return columns | {"upos": [rng.integers(0, 3, len(tags)).tolist() for tags in columns["upos"]]}

    task = prepared(tmp_path, tokenizer, KIND, UPOS, train=noise(0), dev=noise(1))
    evaluation = EvaluationSpec(protocol, finetune_epochs=8)
    assert abs(score_task(make_bert(), task, evaluation, ["dev"], 0)["dev"].score - 1 / 3) < 0.1


@pytest.mark.parametrize("family", MODELS)
def test_both_protocols_learn_what_depends_on_the_word(easy, family):
    model = MODELS[family]().eval()
    assert score_task(model, easy, EvaluationSpec(), ["test"], 0)["test"].score > 0.9
    assert tuned(model, easy, "test", epochs=6, batch_size=8, learning_rates=(3e-3,)) > 0.9


def test_entities_are_scored_by_both_protocols(tmp_path, tokenizer):
    def entities(count, seed):
        columns = tagged(count, seed)
        return columns | {"upos": [[["O", "B-A", "I-A"][tag] for tag in tags] for tags in columns["upos"]]}

    task = prepared(
        tmp_path, tokenizer, KIND, UPOS | {"metric": "entity_f1"}, train=entities(120, 0), dev=entities(30, 1)
    )
    score = score_task(make_bert(), task, EvaluationSpec(), ["dev"], 0)["dev"]
    assert (score.metric, score.score > 0.9) == ("entity_f1", True)
    assert tuned(make_bert(), task, "dev", epochs=6, batch_size=8, learning_rates=(3e-3,)) > 0.9

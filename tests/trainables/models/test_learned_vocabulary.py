"""A vocabulary learned from a corpus: what it reads, and where its embeddings start."""

import json

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from spaces.errors import SpecError
from trainables.models.encoder import word_embeddings
from trainables.models.learned_vocabulary import learn_tokenizer, learn_vocabulary, split
from trainables.models.loading import load_model
from trainables.models.teacher import load_teacher
from trainables.training.pretrain import PretrainSpec, pretrain

GREEK = ["λόγος", "φύσις", "ψυχή"]


@pytest.fixture
def mixed_texts(texts):
    """The source knows Latin words and no Greek letter."""
    rng = np.random.default_rng(0)
    return [f"{text} {' '.join(rng.choice(GREEK, 3))}" for text in texts(200)]


def test_the_learned_tokenizer_reads_what_the_source_cannot(teacher, mixed_texts):
    learned = learn_tokenizer(teacher.tokenizer, mixed_texts, 220)
    assert len(learned) <= 220
    for text in mixed_texts[:20]:
        assert learned.unk_token_id not in learned(text)["input_ids"]
    assert teacher.tokenizer.unk_token_id in teacher.tokenizer(GREEK[0])["input_ids"]
    assert learned.decode(learned("ΨΥΧΉ")["input_ids"], skip_special_tokens=True) == "ψυχή"  # lower case, with accents
    for name in ("pad", "unk", "cls", "sep", "mask"):
        assert getattr(learned, f"{name}_token") == getattr(teacher.tokenizer, f"{name}_token")
    assert learned.convert_ids_to_tokens(learned("ba", "bu")["input_ids"]).count("[SEP]") == 2
    again = learn_tokenizer(teacher.tokenizer, mixed_texts, 220)
    assert again.get_vocab() == learned.get_vocab()


def test_how_a_piece_splits(teacher):
    vocabulary, backend = teacher.tokenizer.get_vocab(), teacher.tokenizer.backend_tokenizer

    def pieces(piece):
        return teacher.tokenizer.convert_ids_to_tokens(split(piece, vocabulary, backend))

    assert pieces("bart") == ["bart"]
    assert pieces("bartx") == ["bart", "##x"]
    assert pieces("##xy") == ["##x", "##y"]
    assert pieces("bárt") == ["bart"]  # the source strips accents
    assert pieces("λόγος") == []
    assert pieces("baλ") == []


@pytest.mark.parametrize("lm_head", [True, False])
def test_where_embeddings_start(teachers, mixed_texts, tmp_path, lm_head):
    teacher = teachers("bert", lm_head=lm_head)
    told = learn_vocabulary(teacher.model, teacher.tokenizer, mixed_texts, 230, tmp_path / "new")
    model, learned = load_model(tmp_path / "new"), AutoTokenizer.from_pretrained(tmp_path / "new")
    new, old = learned.get_vocab(), teacher.tokenizer.get_vocab()
    rows, theirs = word_embeddings(model), word_embeddings(teacher.model)
    assert model.config.vocab_size == len(rows) == len(new)
    assert model.config.pad_token_id == learned.pad_token_id
    shared = sorted(set(new) & set(old))
    assert {"[CLS]", "[MASK]"} < set(shared)
    assert torch.equal(rows[[new[p] for p in shared]], theirs[[old[p] for p in shared]])
    unlike = [p for p in new if p not in old]
    halves = next(p for p in unlike if len(split(p, old, teacher.tokenizer.backend_tokenizer)) > 1)
    expected = theirs[split(halves, old, teacher.tokenizer.backend_tokenizer)].mean(0)
    torch.testing.assert_close(rows[new[halves]], expected)
    strange = [p for p in unlike if not split(p, old, teacher.tokenizer.backend_tokenizer)]
    drawn = rows[[new[p] for p in strange]]
    assert len(strange) > 10 and len(torch.unique(drawn, dim=0)) == len(strange)
    assert drawn.std().item() == pytest.approx(theirs.std().item(), rel=0.2)
    assert told.startswith(f"{len(new):,} pieces learned, of which the source has {len(shared):,}; ")
    assert told.endswith(f"{len(strange):,} at random")
    if lm_head:
        bias, before = model.get_output_embeddings().bias, teacher.model.get_output_embeddings().bias
        assert torch.equal(bias[[new[p] for p in shared]], before[[old[p] for p in shared]])
        assert model.get_output_embeddings().weight is word_embeddings(model)


def test_only_a_wordpiece_source_will_do():
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")))
    with pytest.raises(SpecError, match="for a WordPiece source, this one is WordLevel"):
        learn_tokenizer(words, ["a"], 10)


def test_a_teacher_of_two_languages(write_teacher, texts, tmp_path):
    """Latin and Greek, sampled; what cannot be read is told by language."""
    rng = np.random.default_rng(0)
    greek = [" ".join(rng.choice(GREEK, 8)) for _ in range(60)]
    for language, lines in (("la", texts(150)), ("el", [f"{line} {n}" for n, line in enumerate(greek)])):
        (tmp_path / "text" / language).mkdir(parents=True)
        (tmp_path / "text" / language / "train.txt").write_text("\n".join(lines))

    def make(name, **options):
        lines = []
        spec = PretrainSpec(
            source=str(write_teacher("bert")), corpus=str(tmp_path / "text"), vocabulary=200, shape="2x16",
            first_tokens=1_000, final_tokens=1_000, sequence_length=16, batch_size=8, language_temperature=3.3,
            **options,
        )  # fmt: skip
        pretrain(spec, tmp_path / f"{name}-work", tmp_path / name, lines.append)
        return load_teacher(str(tmp_path / name)), next(line for line in lines if line.startswith("vocabulary: "))

    learned, told = make("learned", learn_vocabulary=True)
    assert "unknown tokens: el 0.0%, la 0.0%" in told
    assert learned.tokenizer.unk_token_id not in learned.tokenizer(greek[0])["input_ids"]
    recipe = json.loads((tmp_path / "learned" / "recipe.json").read_text())
    assert (recipe["learn_vocabulary"], recipe["language_temperature"]) == (True, 3.3)
    _, told = make("trimmed")
    assert "unknown tokens: el 0.0%" not in told and "la 0.0%" in told

"""A trimmed vocabulary: the same outputs on the words it keeps, and no text that it cannot read."""

import string

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from spaces.errors import SpecError
from trainables.encoder import load_model, word_embeddings
from trainables.vocabulary import kept_pieces, trim, trim_model, trim_tokenizer

KEPT = ["ba", "den", "fi", "gort"]


def trimmed_pieces(tokenizer, extra=4):
    needed = len(tokenizer) - 75  # all but the words
    return kept_pieces(tokenizer, [" ".join(KEPT * 3), "bu"], needed + extra)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("lm_head", [True, False])
def test_kept_words_have_the_same_outputs(teachers, family, lm_head):
    teacher = teachers(family, lm_head=lm_head)
    pieces = trimmed_pieces(teacher.tokenizer)
    assert set(KEPT) < set(pieces)
    assert "bu" not in pieces
    old_ids = teacher.tokenizer.convert_tokens_to_ids(pieces)
    assert old_ids == sorted(old_ids)
    small_tokenizer = trim_tokenizer(teacher.tokenizer, pieces)
    small = trim_model(teacher.model, old_ids, lm_head=lm_head)
    text = "ba gort, den x fi!"
    old, new = (torch.tensor([t(text)["input_ids"]]) for t in (teacher.tokenizer, small_tokenizer))
    assert old.shape == new.shape
    assert [old_ids[i] for i in new[0]] == old[0].tolist()
    assert small.config.vocab_size == len(small_tokenizer) == len(pieces)
    with torch.no_grad():
        ours, theirs = small(input_ids=new), teacher.model(input_ids=old)
    if lm_head:
        torch.testing.assert_close(ours.logits, theirs.logits[:, :, old_ids])
        assert small.get_output_embeddings().weight is word_embeddings(small)
    else:
        assert torch.equal(ours.last_hidden_state, theirs.last_hidden_state)


def test_no_ascii_text_is_unknown(teacher):
    small = trim_tokenizer(teacher.tokenizer, trimmed_pieces(teacher.tokenizer))
    rng = np.random.default_rng(0)
    characters = list(string.printable)
    for _ in range(200):
        text = "".join(rng.choice(characters, size=40))
        assert small.unk_token_id not in small(text)["input_ids"], text


def test_trim_writes_a_model_that_loads(teacher, tmp_path):
    trim(teacher.model, teacher.tokenizer, [" ".join(KEPT)], len(teacher.tokenizer) - 71, tmp_path)
    model, tokenizer = load_model(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert model.config.vocab_size == len(tokenizer) == len(teacher.tokenizer) - 71
    assert model.get_output_embeddings() is not None
    assert tokenizer.tokenize("gort bu") == ["gort", "b", "##u"]
    special = ("pad", "unk", "cls", "sep", "mask")
    assert all(getattr(tokenizer, f"{s}_token") == getattr(teacher.tokenizer, f"{s}_token") for s in special)


def test_the_padding_row_follows_its_token(teachers):
    teacher = teachers("roberta")
    old_ids = [0, 2, 3, 4, 1, *range(5, 20)]
    small = trim_model(teacher.model, old_ids, lm_head=True)
    assert small.config.pad_token_id == 4


def test_a_size_below_the_characters_is_refused(teacher):
    with pytest.raises(SpecError, match="too small"):
        kept_pieces(teacher.tokenizer, ["ba"], 20)


def test_only_wordpiece_can_be_trimmed():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")))
    with pytest.raises(SpecError, match="WordLevel"):
        kept_pieces(words, [], 10)

"""Words of one tokenizer from those of another: by their form, by their text, by their role."""

import pytest
from tiny_tokenizers import byte_pairs, unigrams, word_pieces
from tokenizers import Tokenizer, models
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from spaces.errors import SpecError
from trainables.models.vocabulary_transfer import BYTE_OF, Form, form_of, token_ids, transfer

KINDS = {"WordPiece": word_pieces, "BPE": byte_pairs, "Unigram": unigrams}


@pytest.mark.parametrize(
    ("kind", "piece", "form"),
    [("WordPiece", "ban", Form("ban", True)), ("WordPiece", "##a", Form("a", False)),
     ("WordPiece", "##", Form("##", True)), ("Unigram", "▁ban", Form("ban", True)), ("Unigram", "a", Form("a", False)),
     ("Unigram", "<0x41>", Form("A", False)), ("Unigram", "<0xC3>", Form("", False, b"\xc3")),
     ("BPE", "Ġban", Form("ban", True)),
     ("BPE", "Ã¼", Form("ü", False)), ("BPE", "Ã", Form("", False, b"\xc3")), ("BPE", "ban 日", None)],
)  # fmt: skip
def test_the_form_of_a_piece(kind, piece, form):
    assert form_of(KINDS[kind]())(piece) == form


def test_every_byte_has_its_sign():
    assert set(BYTE_OF) == set(ByteLevel.alphabet()) and sorted(BYTE_OF.values()) == list(range(256))


@pytest.mark.parametrize("old", KINDS)
@pytest.mark.parametrize("new", KINDS)
def test_each_piece_comes_from_pieces_of_its_text(old, new):
    """Of the same form where there is one; special tokens by their role."""
    old, new = KINDS[old](), KINDS[new]()
    found, read_old, read_new = transfer(old, new), form_of(old), form_of(new)
    old_pieces, vocabulary = old.convert_ids_to_tokens(range(len(old))), new.get_vocab()
    assert len(found.rows) == len(new)
    forms = {read_old(piece) for number, piece in enumerate(old_pieces) if number not in old.all_special_ids}
    same = drawn = 0
    for piece, number in vocabulary.items():
        row, form = found.rows[number], read_new(piece)
        if number in new.all_special_ids:
            continue
        there = [read_old(old_pieces[each]) for each in row]
        if form in forms:
            assert there == [form]
            same += 1
        elif row:
            assert "".join(each.text for each in there) == form.text.lower() or old.unk_token_id is not None
        else:
            drawn += 1
    for role in ("pad", "unk", "cls", "sep", "mask"):
        assert found.rows[getattr(new, f"{role}_token_id")] == (getattr(old, f"{role}_token_id"),)
    assert found.same == same + len(set(new.all_special_ids)) and found.drawn == drawn
    if type(old) is type(new) and old.get_vocab() == vocabulary:
        assert found.rows == tuple((number,) for number in range(len(new)))


def test_a_piece_within_a_word_comes_from_pieces_within_words():
    old, new = word_pieces(), byte_pairs()
    found, vocabulary = transfer(old, new), old.get_vocab()
    ids = new.get_vocab()
    word = next(piece for piece in ids if piece.startswith("Ġ") and piece[1:] in vocabulary)
    assert found.rows[ids[word]] == (vocabulary[word[1:]],) and found.rows[ids["a"]] == (vocabulary["##a"],)
    longer = next(
        piece for piece in ids if len(piece) == 2 and set(piece) <= set("abdefgiknortu") and piece not in vocabulary
    )
    assert found.rows[ids[longer]] == tuple(vocabulary[f"##{letter}"] for letter in longer)


def test_ids_of_special_tokens_stand_in_for_one_another():
    keys = ["pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "decoder_start_token_id"]
    own = word_pieces()
    assert token_ids(keys, own) == {
        "pad_token_id": 0, "bos_token_id": own.cls_token_id, "eos_token_id": own.sep_token_id,
        "cls_token_id": own.cls_token_id, "decoder_start_token_id": None,
    }  # fmt: skip


def test_a_tokenizer_of_whole_words_is_refused():
    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    with pytest.raises(SpecError, match="this one is WordLevel"):
        transfer(word_pieces(), PreTrainedTokenizerFast(tokenizer_object=backend))

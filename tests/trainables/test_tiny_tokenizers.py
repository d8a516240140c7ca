"""The tiny tokenizers do what those of their families do."""

from tiny_families import TINY
from tiny_tokenizers import sentences
from transformers import AutoTokenizer

SPECIAL = {
    "bert": (["[CLS]", "ba", "[SEP]", "den", "[SEP]"], 0),
    "roberta": (["<s>", "ba", "</s>", "</s>", "den", "</s>"], 1),
    "xlm-roberta": (["<s>", "▁ba", "</s>", "</s>", "▁den", "</s>"], 1),
}
"""A pair of texts, and the id of the padding token."""


def test_pairs_padding_and_what_is_unknown(write_teacher):
    for family, (pieces, padding) in SPECIAL.items():
        made = TINY[family].tokenizer()
        read = AutoTokenizer.from_pretrained(write_teacher(family))
        for each in (made, read):
            found = each.convert_ids_to_tokens(each("ba", "den")["input_ids"])
            assert "".join(found) == "".join(pieces) and found[0] == pieces[0], family
            assert each.pad_token_id == padding and each.mask_token_id is not None
            assert each(sentences(5))["input_ids"] == made(sentences(5))["input_ids"]
            assert (each.unk_token_id in each("ba 蒸")["input_ids"]) == (family != "roberta"), family
        assert len(made) == len(read)

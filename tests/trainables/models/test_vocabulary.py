"""A trimmed vocabulary: the same outputs on the words it keeps, and no text that it cannot read."""

import json
import string
from collections import Counter

import numpy as np
import pytest
import torch
from tiny_tokenizers import ROBERTA_NAMES, byte_pairs
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast, XLMRobertaConfig

from search.cli.main import main
from spaces.errors import SpecError
from trainables.models.encoder import build_model, usable_positions, word_embeddings
from trainables.models.loading import load_model
from trainables.models.teacher import load_teacher
from trainables.models.vocabulary import SPELLED_BYTES, count_pieces, kept_pieces, trim, trim_tokenizer, with_words

KEPT = ["ba", "den", "fi", "gort"]


def trimmed_pieces(tokenizer, extra=4):
    needed = len(tokenizer) - 75  # all but the words
    return kept_pieces(tokenizer, count_pieces(tokenizer, [" ".join(KEPT * 3), "bu"]), needed + extra)


@pytest.mark.parametrize("lm_head", [True, False])
def test_kept_words_have_the_same_outputs(teachers, lm_head):
    teacher = teachers("bert", lm_head=lm_head)
    pieces = trimmed_pieces(teacher.tokenizer)
    assert set(KEPT) < set(pieces)
    assert "bu" not in pieces
    old_ids = teacher.tokenizer.convert_tokens_to_ids(pieces)
    assert old_ids == sorted(old_ids)
    small_tokenizer = trim_tokenizer(teacher.tokenizer, pieces)
    small = with_words(teacher.model, [[i] for i in old_ids], lm_head=lm_head)
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
    rows = [[i] for i in (1, 2, 3, 4, 0, *range(5, 20))]
    assert with_words(teachers("bert").model, rows, lm_head=True).config.pad_token_id == 4
    with pytest.raises(SpecError, match="counts positions from its padding token: id 1 must stay, but would become 0"):
        with_words(teachers("mpnet").model, rows, lm_head=True)


def test_positions_follow_the_padding_token(teachers):
    model = teachers("roberta").model
    rows = [[i] for i in (2, 3, 4, 1, 0, *range(5, 20))]
    small = with_words(model, rows, lm_head=True)
    assert small.config.pad_token_id == 3 and usable_positions(small.config) == usable_positions(model.config)
    ids_BT = torch.tensor([[4, 7, 9, 12, 3]])
    mask_BT = (ids_BT != 3).long()
    old_BT = torch.tensor([[rows[i][0] for i in ids_BT[0].tolist()]])
    with torch.no_grad():
        ours, theirs = small(ids_BT, mask_BT).logits, model(old_BT, mask_BT).logits[..., [i for (i,) in rows]]
    torch.testing.assert_close(ours[:, :4], theirs[:, :4])


def test_a_size_below_the_characters_is_refused(teacher):
    with pytest.raises(SpecError, match="too small"):
        kept_pieces(teacher.tokenizer, Counter(), 20)


def test_what_cannot_be_trimmed_is_refused():
    words = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]")))
    with pytest.raises(SpecError, match="this one is WordLevel"):
        kept_pieces(words, Counter(), 10)
    plain = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE({"a": 0, "b": 1, "ab": 2}, [("a", "b")])))
    with pytest.raises(SpecError, match="this one is BPE that is not byte-level and cannot spell bytes"):
        kept_pieces(plain, Counter(), 10)


LANGUAGE = [a + b for a in ("be", "ka", "mó", "sta", "иго") for b in ("r", "лин", "ndo", "ф", "é", "")]


def scored_pieces(lines):
    """Unigram, as XLM-R has it."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer, backend.pre_tokenizer = normalizers.NFKC(), pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=160, special_tokens=ROBERTA_NAMES, unk_token="<unk>", show_progress=False,
        initial_alphabet=list(string.ascii_letters),
    )  # fmt: skip
    backend.train_from_iterator(lines, trainer)
    return backend


def spelling_bpe(lines):
    """BPE over characters, of which those without a piece are spelled in bytes, as Gemma and mmBERT have it."""
    learning = Tokenizer(models.BPE())
    learning.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=440, special_tokens=[*ROBERTA_NAMES, *sorted(SPELLED_BYTES)], show_progress=False,
        initial_alphabet=list(string.ascii_letters), limit_alphabet=70,
    )  # fmt: skip
    learning.train_from_iterator(lines, trainer)
    learned = json.loads(learning.to_str())["model"]
    merges = [tuple(pair) for pair in learned["merges"]]
    backend = Tokenizer(models.BPE(learned["vocab"], merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_tokens([f"<unused{number}>" for number in range(3)])
    return backend


def subword_tokenizer(kind):
    """As RoBERTa (byte-level BPE), XLM-R (Unigram) and Gemma have it, trained on words of two scripts."""
    rng = np.random.default_rng(1)
    lines = [" ".join(rng.choice(LANGUAGE, 12)) for _ in range(300)]
    if kind == "bpe":
        return byte_pairs(lines, 420)
    backend = spelling_bpe(lines) if kind == "fallback" else scored_pieces(lines)
    backend.add_special_tokens(["<mask>"])
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    names = {"bos": "<s>", "cls": "<s>", "pad": "<pad>", "sep": "</s>", "eos": "</s>", "unk": "<unk>", "mask": "<mask>"}
    return PreTrainedTokenizerFast(tokenizer_object=backend, **{f"{key}_token": name for key, name in names.items()})


def slow_share(tokenizer, texts, pieces):
    used = [piece for text in texts for piece in tokenizer.tokenize(text)]
    return sum(piece in pieces for piece in used) / len(used)


@pytest.mark.parametrize("kind", ["bpe", "unigram", "fallback"])
@pytest.mark.parametrize("share", [None, 0.8])
def test_subwords_are_trimmed_exactly(kind, share, tmp_path):
    """Every text of kept pieces has the same pieces, states and logits; after writing and reading, too."""
    tokenizer = subword_tokenizer(kind)
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer), num_hidden_layers=2, hidden_size=16, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=100, pad_token_id=1, bos_token_id=0, eos_token_id=2, type_vocab_size=1,
    )  # fmt: skip
    model = build_model(config, lm_head=True).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    rng = np.random.default_rng(0)
    corpus = [" ".join(rng.choice(LANGUAGE[:-8], 8)) for _ in range(100)]
    used, always = (len(kept_pieces(tokenizer, counts)) for counts in (count_pieces(tokenizer, corpus), Counter()))
    size = None if share is None else always + int(share * (used - always))
    found = trim(model, tokenizer, corpus, size, tmp_path / "small")
    small, ours = load_model(tmp_path / "small").eval(), AutoTokenizer.from_pretrained(tmp_path / "small")
    pieces = set(ours.get_vocab())
    assert found.pieces == len(pieces) == small.config.vocab_size < len(tokenizer) == found.pieces_before
    assert found.share_kept == pytest.approx(slow_share(tokenizer, corpus, pieces))
    assert (found.share_kept == 1.0) == (share is None)
    assert small.num_parameters() == found.parameters < found.parameters_before == model.num_parameters()
    vocabulary = ours.get_vocab()
    old_ids = [tokenizer.get_vocab()[piece] for piece in sorted(vocabulary, key=vocabulary.get)]
    assert old_ids == sorted(old_ids)
    compared = 0
    for text in [*corpus, *(" ".join(rng.choice(LANGUAGE, 6)) for _ in range(200))]:
        if not set(tokenizer.tokenize(text)) <= pieces:
            continue
        compared += 1
        assert ours.tokenize(text) == tokenizer.tokenize(text)
        old, new = (torch.tensor([each(text)["input_ids"]]) for each in (tokenizer, ours))
        assert [old_ids[i] for i in new[0].tolist()] == old[0].tolist()
        with torch.no_grad():
            theirs, own = model(old, output_hidden_states=True), small(new, output_hidden_states=True)
        assert all(torch.equal(a, b) for a, b in zip(own.hidden_states, theirs.hidden_states, strict=True))
        torch.testing.assert_close(own.logits, theirs.logits[:, :, old_ids], atol=2e-6, rtol=0)
    assert compared > (100 if share is None else 3)
    assert ours.convert_ids_to_tokens(ours("ab", "ka")["input_ids"])[0] == "<s>"
    for name in ("bos", "cls", "pad", "sep", "eos", "unk", "mask"):
        assert getattr(ours, f"{name}_token") == getattr(tokenizer, f"{name}_token")
    assert small.config.eos_token_id == ours.eos_token_id


def test_a_bpe_piece_brings_what_it_is_merged_from():
    """A vocabulary too small for every used piece never holds one that it cannot make."""
    tokenizer = subword_tokenizer("bpe")
    counts = count_pieces(tokenizer, [" ".join(LANGUAGE[::2])] * 3)
    for size in (264, 270, 290):
        pieces = kept_pieces(tokenizer, counts, size)
        assert len(pieces) <= size
        ours = trim_tokenizer(tokenizer, pieces)
        merges = json.loads(ours.backend_tokenizer.to_str())["model"]["merges"]
        made = {"".join(pair) for pair in merges}
        plain = {*ROBERTA_NAMES, "<mask>", *pre_tokenizers.ByteLevel.alphabet()}
        assert set(pieces) - plain == made
        for text in ("be kalin ~ €", "\t{x}"):
            assert ours.decode(ours(text, add_special_tokens=False)["input_ids"]) == text


def test_characters_without_a_piece_are_spelled_in_bytes():
    tokenizer = subword_tokenizer("fallback")
    ours = trim_tokenizer(tokenizer, kept_pieces(tokenizer, count_pieces(tokenizer, ["be ka"])))
    assert not {"л", "ó", "<unused1>"} & ours.get_vocab().keys() and {"ó", "<unused1>"} < tokenizer.get_vocab().keys()
    for text in ("be лин ó", "€ {x}"):
        ids = ours(text, add_special_tokens=False)["input_ids"]
        assert ours.unk_token_id not in ids and ours.decode(ids) == text


def test_unigram_reads_ascii_and_the_rest_is_unknown():
    tokenizer = subword_tokenizer("unigram")
    ours = trim_tokenizer(tokenizer, kept_pieces(tokenizer, count_pieces(tokenizer, ["be"])))
    assert ours.unk_token_id not in ours("ab XYZ be")["input_ids"]
    assert ours.unk_token_id in ours("л")["input_ids"]
    assert tokenizer.unk_token_id not in tokenizer("л")["input_ids"]


def test_the_command_writes_a_teacher(teachers, write_teacher, tmp_path, capsys):
    (tmp_path / "train.txt").write_text("\n".join(f"{' '.join(KEPT)} {number}" for number in range(60)))
    command = ["trim", str(write_teacher("bert")), str(tmp_path / "small"), "--corpus", str(tmp_path / "train.txt")]
    assert main(command) == 0
    printed = capsys.readouterr().out
    small = load_teacher(str(tmp_path / "small"))
    assert small.facts.has_lm_head
    assert f"184 -> {small.facts.vocab_size} pieces, 100.00% of the tokens of all texts" in printed
    assert f"-> {small.model.num_parameters():,} parameters" in printed
    assert main(command) == 2
    assert "is there already" in capsys.readouterr().err
    assert main([*command[:2], str(tmp_path / "tiny"), *command[3:], "--pieces", "20"]) == 2
    assert "too small" in capsys.readouterr().err
    assert not (tmp_path / "tiny").exists()

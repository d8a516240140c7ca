"""The contract of a family, over every entry of the registry.

What is counted, read and copied is held against what transformers' own models are and do.
"""

import copy
import dataclasses
import pickle
import re

import pytest
import torch
from tiny_families import TINY
from torch.utils.flop_counter import FlopCounterMode
from transformers import GPT2Config
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from spaces.errors import SpecError
from spaces.students.architecture import StudentArchitecture, count_parameters, flops_per_token
from trainables.models import student as starts
from trainables.models.encoder import (
    architecture,
    build_model,
    family_of,
    finished,
    hidden_states,
    layers,
    lm_head,
    lm_logits,
    parts,
    qkv,
    set_architecture,
    word_embeddings,
)
from trainables.models.families import FAMILIES
from trainables.models.kept_units import kept_heads, needed_units
from trainables.models.loading import has_lm_head, load_model
from trainables.models.projection import stream_directions
from trainables.models.stream_sample import passing
from trainables.models.student import build_student, truncated
from trainables.models.teacher import read_facts
from trainables.models.vocabulary import with_words
from trainables.text.corpus import open_corpus
from trainables.training.mixing import Mix

SHAPES = [StudentArchitecture(2, 24, 4, 56), StudentArchitecture(3, 16, 2, 64), StudentArchitecture(1, 40, 10, 7)]
SAME = StudentArchitecture(4, 32, 4, 64)
TEXTS = ("ba den fi gort ku ban", "dert ba", "ka ke ki ko")


@pytest.fixture(scope="session")
def cache_of_all(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache_of_all, monkeypatch):
    """What is found of a teacher and its corpus (which layers it can do without) is found once for all tests."""
    monkeypatch.setenv("STILLHOUSE_CACHE", str(cache_of_all))


@pytest.fixture(params=FAMILIES)
def teacher(request, teachers):
    """A teacher of each family, with a masked-LM head where the family has any."""
    return teachers(request.param)


@pytest.fixture
def with_head(teacher):
    """A teacher of each family that has a masked-LM head."""
    if not teacher.facts.masked_lm:
        pytest.skip("no model of this family has a masked-LM head")
    return teacher


@pytest.fixture
def corpus(teacher, own_corpus):
    """Of the family's own tokens."""
    return open_corpus(own_corpus(teacher))


def own_config(teacher, shape):
    """The teacher's config with another shape."""
    config = copy.deepcopy(teacher.model.config)
    set_architecture(config, shape)
    return config


def config_of(teacher, shape, initialisation="projected_layers", method="od"):
    if not teacher.facts.masked_lm:
        method = {"od": "hs", "od + hs": "hs"}.get(method, method)
    return {"method": method, "initialisation": initialisation, **dataclasses.asdict(shape)}


def last_outputs(model, ids_BT):
    """Logits, or the last states of a model without a head."""
    out = model(input_ids=ids_BT)
    return out.logits if "logits" in out else out.last_hidden_state


def size(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


def head_size(model):
    """Units of a head of queries."""
    return parts(model, 1).from_heads.in_features // architecture(model.config).num_heads


def is_tied(model):
    """Whether the head's matrix is that of the word embeddings."""
    return model.get_output_embeddings().weight is word_embeddings(model)


def same_weights(first, second):
    ours, theirs = first.state_dict(), second.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def padded_batch(tokenizer, sides=("right", "right", "left")):
    """Texts of different lengths, each padded on its side with the tokenizer's own padding token."""
    rows = [tokenizer(text)["input_ids"] for text in TEXTS]
    longest = max(map(len, rows))

    def filled(parts, value):
        return [
            [value] * (longest - len(part)) + part if side == "left" else part + [value] * (longest - len(part))
            for side, part in zip(sides, parts, strict=True)
        ]

    valid = [[1] * len(row) for row in rows]  # not by their ids: some tokenizers pad with the token that ends a text
    return torch.tensor(filled(rows, tokenizer.pad_token_id)), torch.tensor(filled(valid, 0))


def queries_keys_values(model, kind, monkeypatch):
    """A list that gets what each layer's attention works with, BHTD, when the model is run."""
    seen, attention = [], ALL_ATTENTION_FUNCTIONS["sdpa"]

    def watched(module, query, key, value, *args, **options):
        seen.append((query, key, value))
        return attention(module, query, key, value, *args, **options)

    def add(module, args, out):
        if len(out) != len(TEXTS):  # DeBERTa's maps read its distances as well
            return
        if len(seen) == 0 or len(seen[-1]) == 3:
            seen.append(())
        seen[-1] += (out.unflatten(-1, (-1, head_size(model))).transpose(1, 2),)

    if not kind.attention:
        monkeypatch.setitem(ALL_ATTENTION_FUNCTIONS, "sdpa", watched)
    for layer in layers(model):
        for path in kind.attention:
            monkeypatch.setattr(layer.get_submodule(path), "_forward_hooks", {0: add})
    return seen


def test_every_family_is_tested():
    assert set(FAMILIES) <= set(TINY)


def test_facts_are_a_value(teacher, write_teacher):
    assert pickle.loads(pickle.dumps(teacher.facts)) == teacher.facts
    facts = read_facts(str(write_teacher(teacher.facts.family.name)))
    assert facts == teacher.facts and facts.family.name == teacher.model.config.model_type
    assert facts.architecture == SAME and facts.max_positions == 40
    assert facts.has_lm_head == facts.masked_lm


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_counts_are_those_of_the_built_model(teacher, shape):
    config = own_config(teacher, shape)
    bare = build_model(config, lm_head=False)
    own = family_of(config).embeddings(bare)
    embeddings = size(*own.tables, *(part for part in (own.norm, own.into_stream) if part is not None))
    assert count_parameters(shape, teacher.facts) == size(bare)
    assert count_parameters(shape, teacher.facts, embeddings=False) == size(bare) - embeddings
    if teacher.facts.masked_lm:
        assert count_parameters(shape, teacher.facts, lm_head=True) == size(build_model(config, lm_head=True))
    ids_BT = torch.randint(5, 100, (1, 4), generator=torch.Generator().manual_seed(0))
    bare.set_attn_implementation("eager")  # the counter does not know the fused kernel of a CPU
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        bare.eval()(input_ids=ids_BT, attention_mask=torch.ones_like(ids_BT))
    assert flops_per_token(shape, teacher.facts, 4) * ids_BT.numel() == counter.get_total_flops()


@pytest.mark.parametrize("lm_head", [True, False])
def test_shapes_are_written_and_read_back(teacher, lm_head):
    shape = SHAPES[0]
    model = build_model(own_config(teacher, shape), lm_head=lm_head and teacher.facts.masked_lm)
    assert architecture(model.config) == shape
    assert len(layers(model)) == len(family_of(model.config).layer_kinds(model.config)) == 2
    assert not any("pooler" in name for name, _ in model.named_parameters())


def test_signals_are_those_inside_the_model(teacher, monkeypatch):
    """Queries and keys may be turned by their position before the attention gets them, which keeps their length."""
    model = teacher.model
    seen = queries_keys_values(model, TINY[model.config.model_type], monkeypatch)
    ids_BT, mask_BT = padded_batch(teacher.tokenizer)
    with torch.no_grad():
        out = model(input_ids=ids_BT, attention_mask=mask_BT, output_hidden_states=True)
        assert len(seen) == 4
        states = hidden_states(model, ids_BT, mask_BT)
        assert len(states) == len(out.hidden_states) == 5
        for ours, theirs in zip(states, out.hidden_states, strict=True):
            assert torch.equal(ours, theirs)
        for number, inside in enumerate(seen[:4], 1):
            read = [each.unflatten(-1, (4, -1)).transpose(1, 2) for each in qkv(model, number, states[number - 1])]
            for_all = [each.repeat_interleave(4 // each.shape[1], dim=1) for each in inside]
            assert torch.equal(read[2], for_all[2])
            for ours, theirs in zip(read[:2], for_all[:2], strict=True):
                torch.testing.assert_close(ours.norm(dim=-1), theirs.norm(dim=-1))
                assert torch.equal(ours[:, :, 0], theirs[:, :, 0])
        if teacher.facts.masked_lm:
            torch.testing.assert_close(lm_logits(model, states[-1][mask_BT.bool()]), out.logits[mask_BT.bool()])


def test_padding_does_not_count(teacher):
    ids_BT, mask_BT = padded_batch(teacher.tokenizer)
    with torch.no_grad():
        padded = hidden_states(teacher.model, ids_BT, mask_BT)[-1][1][mask_BT[1].bool()]
        alone = hidden_states(teacher.model, ids_BT[1][mask_BT[1].bool()][None])[-1][0]
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=1e-5)


def test_a_head_is_its_logits_short_of_the_last_product(with_head):
    model, hidden_ND = with_head.model, torch.randn(3, 32)
    head = lm_head(model, hidden_ND)
    assert is_tied(model) == model.config.tie_word_embeddings
    assert head.weight_VD is model.get_output_embeddings().weight  # so that training moves tied ones by both gradients
    torch.testing.assert_close(head.words_ND @ head.weight_VD.T + head.bias_V, lm_logits(model, hidden_ND))
    with torch.autocast("cpu", torch.bfloat16):
        assert lm_head(model, hidden_ND).words_ND.dtype == torch.bfloat16
        assert lm_logits(model, hidden_ND).dtype == torch.bfloat16


@torch.no_grad()
def test_all_that_layers_read_of_a_text_can_be_mixed(teacher):
    """Two texts in equal parts are one and the same, whichever of them is asked for, at every depth."""
    ids_BT = torch.tensor([[9, 12, 15, 20, 8], [30, 9, 22, 7, 11]])
    alone = hidden_states(teacher.model, ids_BT)
    mixed = hidden_states(teacher.model, ids_BT, mix=Mix(0.5, 0.0))
    torch.testing.assert_close(mixed[0][0], alone[0].mean(0))
    for state_BTD in mixed[1:]:
        torch.testing.assert_close(state_BTD[0], state_BTD[1])
    torch.testing.assert_close(hidden_states(teacher.model, ids_BT, None, 0, Mix(0.5, 0.0))[0], mixed[0])
    assert all(map(torch.equal, hidden_states(teacher.model, ids_BT, mix=Mix(1.0, 0.0)), alone))


def test_a_shallow_run_stops_early(teacher):
    model, ran = teacher.model, []
    ids_BT, mask_BT = padded_batch(teacher.tokenizer)
    hooks = [layer.register_forward_hook(lambda layer, *_: ran.append(layer)) for layer in set(layers(model))]
    with torch.no_grad():
        full = hidden_states(model, ids_BT, mask_BT)
        for depth in (0, 1, 3):
            ran.clear()
            states = hidden_states(model, ids_BT, mask_BT, depth)
            assert ran == list(layers(model))[:depth]
            assert len(states) == depth + 1
            for ours, theirs in zip(states, full, strict=False):
                torch.testing.assert_close(ours[mask_BT.bool()], theirs[mask_BT.bool()])
    for hook in hooks:
        hook.remove()
    assert len(layers(model)) == 4


def test_a_trained_head_is_told_from_a_missing_one(with_head, write_teacher):
    name = with_head.facts.family.name
    whole, without = write_teacher(name), write_teacher(name, lm_head=False)
    assert has_lm_head(whole, with_head.model.config)
    assert not has_lm_head(without, with_head.model.config)
    assert load_model(whole).get_output_embeddings() is not None
    bare = load_model(without)
    assert bare.get_output_embeddings() is None
    assert not any("pooler" in name for name, _ in bare.named_parameters())


@pytest.mark.parametrize("initialisation", ["projected_layers", "teacher_layers", "first_layers", "pruned_layers"])
def test_at_equal_shape_the_student_is_the_teacher(teacher, initialisation, corpus):
    student = build_student(config_of(teacher, SAME, initialisation), teacher, 3, corpus)
    ids_BT, mask_BT = padded_batch(teacher.tokenizer)
    inputs = {"input_ids": ids_BT, "attention_mask": mask_BT, "output_hidden_states": True}
    with torch.no_grad():
        ours, theirs = (model(**inputs) for model in (student, teacher.model))
    assert all(torch.equal(ours[name], theirs[name]) for name in ("logits", "last_hidden_state") if name in ours)
    for student_BTD, teacher_BTD in zip(ours.hidden_states, theirs.hidden_states, strict=True):
        assert torch.equal(student_BTD, teacher_BTD)


@pytest.mark.parametrize("kept", ["first", "uniform", "removal"])
def test_a_cut_teacher_is_some_of_its_layers(teacher, kept, corpus):
    """In their order, each in the role it had; the first ones give what they gave."""
    shape = dataclasses.replace(SAME, num_layers=2)
    cut, family = truncated(teacher, shape, kept, corpus), family_of(teacher.model.config)
    kinds, found = family.layer_kinds(teacher.model.config), []
    for layer, kind in zip(layers(cut), family.layer_kinds(cut.config), strict=True):
        alike = [number for number, each in enumerate(layers(teacher.model)) if same_weights(layer, each)]
        if family.one_layer:
            assert alike == [0, 1, 2, 3]
            alike = [len(found)]
        assert [kinds[number] for number in alike] == [kind]
        found += alike
    assert found == sorted(set(found))
    ids_BT, mask_BT = padded_batch(teacher.tokenizer)
    with torch.no_grad():
        ours, theirs = (hidden_states(model, ids_BT, mask_BT) for model in (cut, teacher.model))
        if kept == "first":
            assert found == [0, 1]
            assert all(torch.equal(a, b) for a, b in zip(ours[:2], theirs[:2], strict=True))
            assert torch.equal(ours[2], finished(teacher.model, 2, theirs[2]))


@pytest.mark.parametrize(
    ("method", "initialisation"),
    [("mha", "random"), ("od + hs", "projected"), ("od + hs", "projected_layers"), ("mha", "pruned_layers")],
)
def test_narrower_students_are_built_as_counted_and_load_as_they_were(
    teacher, method, initialisation, corpus, tmp_path
):
    shape, with_head = StudentArchitecture(3, 24, 2, 40), method != "mha" and teacher.facts.masked_lm
    student = build_student(config_of(teacher, shape, initialisation, method), teacher, 3, corpus)
    assert size(student) == count_parameters(shape, teacher.facts, lm_head=with_head)
    assert (student.get_output_embeddings() is not None) == with_head
    assert not student.training
    assert all(p.requires_grad for p in student.parameters())
    if with_head:
        assert is_tied(student) == is_tied(teacher.model)
    ids_BT, mask_BT = padded_batch(teacher.tokenizer)
    student.save_pretrained(tmp_path / "student")
    loaded = load_model(tmp_path / "student").eval()
    assert architecture(loaded.config) == shape
    assert (loaded.get_output_embeddings() is not None) == with_head
    with torch.no_grad():
        ours, theirs = (hidden_states(model, ids_BT, mask_BT) for model in (student, loaded))
    assert [state.shape[-1] for state in ours] == [24] * 4
    for own, read in zip(ours, theirs, strict=True):
        assert own.isfinite().all() and torch.equal(own, read)


def test_projected_parts_are_the_teachers_in_the_basis(teacher, corpus, monkeypatch):
    """Before anything is fitted."""
    monkeypatch.setattr(starts, "fit_layer", lambda *args: None)
    shape = StudentArchitecture(2, 16, 2, 24)
    student = build_student(config_of(teacher, shape, "first_layers"), teacher, 3, corpus)
    basis, family = stream_directions(teacher, corpus, (0, 1, 2))[:, :16], family_of(student.config)
    tables = [family.embeddings(model.base_model) for model in (student, teacher.model)]
    factorised, scale = tables[0].into_stream is not None, tables[1].scale / tables[0].scale
    for target, source in zip(*(each.tables for each in tables), strict=True):
        torch.testing.assert_close(target.weight, source.weight if factorised else source.weight @ basis * scale)
    if factorised:
        torch.testing.assert_close(tables[0].into_stream.weight, basis.T @ tables[1].into_stream.weight)
    shared = [family.shared(model.base_model) for model in (student, teacher.model)]
    for target, source in zip(*(each.of_heads for each in shared), strict=True):
        torch.testing.assert_close(target.weight, source.weight[:, [0, 2]])
    for target, source in zip(*(each.tables for each in shared), strict=True):
        torch.testing.assert_close(target.weight, source.weight @ basis)
    ours, theirs = parts(student, 2), parts(teacher.model, 2)
    passed = passing(teacher.model, corpus, 2, (theirs.from_heads, theirs.from_units))
    heads_NI, units_NI = passed[theirs.from_heads][0], passed[theirs.from_units][0]
    known, size, inner = teacher.facts.architecture, head_size(teacher.model), theirs.from_heads.in_features
    whole = theirs.to_heads[-1].out_features >= inner
    heads = kept_heads(shape, known, theirs, None if shared[0].of_heads else heads_NI, basis)
    of_head = heads.rows.reshape(2, size)
    assert torch.equal(of_head, of_head[:, :1] + torch.arange(size)) and not (of_head[:, 0] % size).any()  # whole heads
    if not whole:  # those that share one of two heads of keys and values
        assert (heads.rows // (2 * size)).tolist() == [int(heads.shared[0]) // size] * 2 * size
    units = needed_units(units_NI, basis.T @ theirs.from_units.weight, 24).rows
    assert len(units) == 24
    for reads, rows, height in (("to_heads", heads.rows, inner), ("to_units", units, 64)):
        for target, source in zip(getattr(ours, reads), getattr(theirs, reads), strict=True):
            kept = [block[rows if len(block) == height else heads.shared] for block in source.weight.split(height)]
            torch.testing.assert_close(target.weight, torch.cat(kept) @ basis)
    torch.testing.assert_close(ours.from_heads.weight, basis.T @ theirs.from_heads.weight[:, heads.rows])
    torch.testing.assert_close(ours.from_units.weight, basis.T @ theirs.from_units.weight[:, units])
    for norm, source in zip(ours.head_norms, theirs.head_norms, strict=True):
        assert torch.equal(norm.weight, source.weight)  # heads are as large as the teacher's
    if not teacher.facts.masked_lm:
        return
    for name, value in student.get_output_embeddings().named_parameters():
        source = teacher.model.get_output_embeddings().get_parameter(name)
        expected = source if name == "bias" or factorised else source @ basis
        torch.testing.assert_close(value, expected)


def test_fewer_words_have_the_same_outputs(teacher):
    ids = torch.tensor([teacher.tokenizer(TEXTS[0])["input_ids"]])
    kept = sorted({*range(6), *ids[0].tolist(), *teacher.tokenizer.all_special_ids})
    small = with_words(teacher.model, [[i] for i in kept], lm_head=teacher.facts.masked_lm)
    new = torch.tensor([[kept.index(i) for i in ids[0].tolist()]])
    with torch.no_grad():
        ours, theirs = last_outputs(small, new), last_outputs(teacher.model, ids)
    torch.testing.assert_close(ours, theirs[:, :, kept] if teacher.facts.masked_lm else theirs)
    if teacher.facts.masked_lm:
        assert is_tied(small) == is_tied(teacher.model)
    padding = teacher.model.config.pad_token_id
    assert small.config.pad_token_id == (None if padding is None else kept.index(padding))


def test_the_longest_usable_sequence_is_usable(teacher):
    ids_BT = torch.full((1, teacher.facts.max_positions), 9)
    assert hidden_states(teacher.model, ids_BT, None, 1)[1].isfinite().all()


@pytest.mark.parametrize(
    ("family", "option", "why"),
    [("deberta-v2", {"conv_kernel_size": 3}, "conv_kernel_size = 3 cannot be distilled: a convolution"),
     ("deberta-v2", {"share_att_key": False}, "share_att_key = False .* as in DeBERTa v3"),
     ("deberta-v2", {"relative_attention": False}, "relative_attention = False"),
     ("gemma3_text", {"use_bidirectional_attention": False}, "is a decoder, which sees what stands before"),
     ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "layers that see a window .* cannot be dis"),
     ("albert", {"num_hidden_groups": 2}, "num_hidden_groups = 2 cannot be distilled: only one layer for all")],
)  # fmt: skip
def test_a_layout_of_which_no_student_can_be_made_is_refused_with_the_reason(family, option, why):
    config = TINY[family].config(100, (4, 32, 4, 64))
    vars(config).update(option)
    with pytest.raises(SpecError, match=why):
        family_of(config).facts(config)


@pytest.mark.parametrize(
    ("family", "shape", "problem"),
    [("electra", (2, 20, 4, 40), "as wide as its embeddings .20"), ("eurobert", (2, 24, 3, 40), "come in groups of 2"),
     ("gte", (2, 12, 4, 24), "must be of even size, got 3")],
)  # fmt: skip
def test_a_shape_that_a_family_cannot_have_is_refused_with_the_nearest(teachers, family, shape, problem):
    problems = teachers(family).facts.family.problems(StudentArchitecture(*shape))
    assert len(problems) == 1 and re.search(f"{problem}.*(nearest|near and) legal", problems[0])


def test_an_unknown_family_is_refused_by_name():
    with pytest.raises(SpecError, match="gpt2"):
        family_of(GPT2Config())

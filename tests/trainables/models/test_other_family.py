"""Students of another family than their teacher: what they take over, what they cost, whole trials of some pairs."""

from dataclasses import replace

import pytest
import torch
from small_tasks import separable, write
from small_trials import COMMON, EXACT, STEP
from transformers import AutoModel, AutoTokenizer

from spaces.errors import SpecError
from spaces.records.latency import LatencySpec
from spaces.students.architecture import StudentArchitecture, count_parameters, flops_per_token
from trainables.lanes.messages import TrialJob
from trainables.lanes.trial import run_trial
from trainables.models.encoder import build_model, hidden_states, set_architecture
from trainables.models.families import FAMILIES
from trainables.models.other_family import config_for, reads_of
from trainables.models.student import build_student, untrained
from trainables.models.teacher import load_teacher
from trainables.tasks.scores import Reference
from trainables.tasks.scoring import prepare_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.corpus import open_corpus

SAME = StudentArchitecture(2, 32, 4, 64)
TEXTS = ("ba den fi gort ku ban", "dert ba", "ka ke ki ko")
PAIRS = {
    "bert modernbert": {"method": "od + 0.5 hs", "temperature": 2.0, "mapping": "uniform"},
    "modernbert bert": {"method": "mha", "relation_heads": 8, "teacher_layer": 4},
    "xlm-roberta bert": {"method": "hs", "mapping": "last"},
    "bert distilbert": {"method": "mha_direct", "teacher_layer": 4},
    "qwen3 bert": {"method": "mha + hs", "relation_heads": 8, "teacher_layer": 4, "mapping": "last"},
}
"""Families of teacher and student, and the method of the trial."""


def able(family):
    return FAMILIES[family].for_reading is not None


def started(teacher, family, width, corpus):
    config = {"method": "hs", "initialisation": "projected", **vars(replace(SAME, hidden_size=width, family=family))}
    return build_student(config, teacher, 3, corpus)


@pytest.mark.parametrize("family", filter(able, FAMILIES))
@pytest.mark.parametrize("of", ["xlm-roberta", "modernbert"])  # its padding is token 1, as MPNet wants it
def test_students_of_every_family_are_as_counted_and_read_what_the_teacher_reads(teachers, of, family):
    teacher = teachers(of)
    shape = StudentArchitecture(3, 24, 2, 40, None if family == of else family)
    for lm_head in (False, True):
        model = untrained(teacher, shape, 0, lm_head=lm_head)
        assert model.config.model_type == family
        assert count_parameters(shape, teacher.facts, lm_head=lm_head) == model.num_parameters()
    assert flops_per_token(shape, teacher.facts, 16) > 0
    longest_BT = torch.full((1, teacher.facts.max_positions), teacher.facts.vocab_size - 1)
    with torch.no_grad():
        assert all(state.isfinite().all() for state in hidden_states(model, longest_BT))
        batch = teacher.tokenizer(list(TEXTS), return_tensors="pt", padding=True)
        alone = teacher.tokenizer(TEXTS[1], return_tensors="pt")
        together, one = (hidden_states(model, each["input_ids"], each["attention_mask"])[-1] for each in (batch, alone))
    torch.testing.assert_close(together[1, : one.shape[1]], one[0], atol=1e-5, rtol=0)


@pytest.mark.parametrize(("of", "family"), [("bert", "distilbert"), ("xlm-roberta", "bert"), ("ernie", "electra")])
def test_at_full_width_embeddings_that_both_have_are_the_teachers(teachers, of, family, own_corpus):
    """Positions from another row on, types and task types that only the teacher has as part of the words."""
    teacher = teachers(of)
    student = started(teacher, family, 32, open_corpus(own_corpus(teacher)))
    ids_BT = teacher.tokenizer(list(TEXTS), return_tensors="pt", padding=True)
    with torch.no_grad():
        ours, theirs = (hidden_states(model, ids_BT["input_ids"], None, 0)[0] for model in (student, teacher.model))
    valid = ids_BT["attention_mask"].bool()
    torch.testing.assert_close(ours[valid], theirs[valid], atol=1e-4, rtol=0)


@pytest.mark.parametrize("of", ["bert", "albert", "gemma3_text", "modernbert"])
@pytest.mark.parametrize("family", ["bert", "modernbert"])
def test_words_of_a_narrower_student_are_near_the_teachers(teachers, of, family, own_corpus):
    """Whatever its teacher adds to them, scales or maps: nearer to what the teacher's layers read than new ones."""
    teacher = teachers(of)
    if of == family:
        pytest.skip("not another family")
    corpus = open_corpus(own_corpus(teacher))
    student, new = started(teacher, family, 24, corpus), untrained(teacher, replace(SAME, family=family), 0)
    ids_BT = torch.from_numpy(corpus.held_out[:8].astype("int64"))
    with torch.no_grad():
        ours, theirs, random = (
            hidden_states(model, ids_BT, None, 0)[0].flatten(0, 1) for model in (student, teacher.model, new)
        )

    def missed(states):
        """The share of the teacher's states that no linear map of these gives."""
        fitted = states @ torch.linalg.lstsq(states, theirs).solution
        return float((fitted - theirs).square().sum() / theirs.square().sum())

    assert missed(ours) < 0.8 * missed(random[:, :24])


@pytest.mark.parametrize("pair", PAIRS)
def test_a_trial_of_a_student_of_another_family(pair, teachers, write_teacher, own_corpus, tmp_path):
    of, family = pair.split()
    teacher = teachers(of)
    columns = {split: separable(count, count) for split, count in (("train", 60), ("dev", 40))}
    task = TaskSpec("toy", str(write(tmp_path / "toy", **columns)), "classification", max_length=16)
    folder, reference = prepare_task(task, teacher.tokenizer, tmp_path / "cache"), {"toy": Reference(1.0, 0.4)}
    job = TrialJob(
        trial=0, config={**COMMON, **PAIRS[pair], "family": family}, seed=0, teacher=str(write_teacher(of)),
        corpus=str(own_corpus(teacher)), tasks=(str(folder),), train_tokens=3 * STEP, evaluation=EvaluationSpec(),
        floors=reference, training=EXACT, latency=LatencySpec(sequence_length=16) if family == "modernbert" else None,
        folder=str(tmp_path / "checkpoints/00000"), student_folder=str(tmp_path / "students/00000"),
    )  # fmt: skip
    outcome = run_trial(job, lambda report: None)
    assert outcome.trained.steps == 3
    assert family != "modernbert" or outcome.costs["latency_p50_ms"] > 0
    made = load_teacher(job.student_folder)
    assert made.facts.family.name == family and made.facts.max_positions == teacher.facts.max_positions
    assert outcome.costs["parameters"] == count_parameters(made.facts.architecture, made.facts)
    tokenizer, model = (kind.from_pretrained(job.student_folder) for kind in (AutoTokenizer, AutoModel))
    inputs = tokenizer(list(TEXTS), list(TEXTS), return_tensors="pt", padding=True)
    assert ("token_type_ids" in inputs) == (of == "bert" and FAMILIES[family].has_types)
    with torch.no_grad():
        assert model.eval()(**inputs).last_hidden_state.isfinite().all()
    assert tokenizer(list(TEXTS))["input_ids"] == teacher.tokenizer(list(TEXTS))["input_ids"]


@pytest.mark.parametrize(
    ("of", "family", "problem"),
    [("bert", "albert", "made of teachers of albert alone. Of any teacher: bert, roberta"),
     ("bert", "mpnet", "takes token 1 for padding whatever its config says; the teacher's is 0"),
     ("bert", "modernbertt", "model family 'modernbertt'.*modernbert")],
)  # fmt: skip
def test_families_of_which_no_student_can_be_made_are_refused_with_the_reason(teachers, of, family, problem):
    with pytest.raises(SpecError, match=problem):
        teachers(of).facts.as_family(family)


def test_a_config_for_other_readers_is_of_the_shape_asked_for(teachers):
    config = config_for(reads_of(teachers("bert").model.config), "modernbert")
    set_architecture(config, SAME)
    assert build_model(config, lm_head=False).config.layer_types == ["full_attention", "sliding_attention"]
    assert config.pad_token_id == 0 and config.cls_token_id is None

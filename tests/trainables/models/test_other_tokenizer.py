"""Students with a tokenizer of their own: the teacher over their words, texts in both, a whole trial."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_tasks import separable, write, write_beir
from small_trials import COMMON, EXACT, fill
from transformers import AutoModel, AutoTokenizer

from spaces.errors import SpecError
from spaces.students.architecture import StudentArchitecture, count_parameters
from trainables.lanes.messages import TrialJob
from trainables.lanes.trial import run_trial
from trainables.models.embedding import embed, embedder_of
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.models.encoder import hidden_states, usable_positions, word_embeddings
from trainables.models.signals import states_of
from trainables.models.student import build_student, untrained
from trainables.models.teacher import load_teacher, read_facts
from trainables.tasks.index import with_index
from trainables.tasks.prepare import as_teacher_reads
from trainables.tasks.scores import Reference
from trainables.tasks.scoring import load_task, prepare_task, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.corpus import blocks_visited, open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec
from trainables.training.distillation import Distillation
from trainables.training.targets import Needs, TargetPlan

PAIRS = [("bert", "xlm-roberta"), ("xlm-roberta", "bert"), ("modernbert", "bert"), ("gemma3_text", "bert")]
"""Family of the teacher, and that whose tokenizer its students have."""
EMBED = COMMON | {
    "method": "embed", "embed_distance": "cosine", "embed_projection": "kept", "embedding_size": 32,
    "student_pooling": "teacher",
}  # fmt: skip
LONGEST = 16


@pytest.fixture(scope="module")
def paired(write_teacher):
    """(teacher, tokenizer) -> the teacher with students that have that tokenizer; each is made once."""
    made = {}

    def load(of, tokenizer):
        if (of, tokenizer) not in made:
            made[of, tokenizer] = load_teacher(*named(write_teacher, of, tokenizer))
        return made[of, tokenizer]

    return load


def named(write_teacher, of, tokenizer):
    return str(write_teacher(of)), EmbeddingSpec(), str(write_teacher(tokenizer))


@pytest.fixture
def both(paired, tmp_path, texts):
    """A teacher, and the folder of a corpus in its tokens and in those of its students."""
    teacher = paired("bert", "xlm-roberta")
    (tmp_path / "text.txt").write_text("\n".join(f"{text}." for text in texts(200)))
    spec = CorpusSpec(source=str(tmp_path / "text.txt"), sequence_length=LONGEST, texts="single")
    return teacher, prepare_corpus(spec, teacher.source.tokenizer, teachers=teacher.tokenizer)


@pytest.mark.parametrize(("of", "tokenizer"), PAIRS)
def test_students_are_counted_over_their_own_words(paired, write_teacher, of, tokenizer):
    teacher = paired(of, tokenizer)
    source, own = teacher.source, teacher.facts.architecture
    assert teacher.facts == read_facts(*named(write_teacher, of, tokenizer))
    for shape in (own, StudentArchitecture(2, 24, 4, 40)):
        student = untrained(source, shape, 0)
        assert count_parameters(shape, teacher.facts) == student.num_parameters()
        assert student.config.vocab_size == len(source.tokenizer)
        assert student.config.pad_token_id == source.tokenizer.pad_token_id
        assert usable_positions(student.config) == teacher.facts.max_positions
    bare = untrained(teacher, own, 0)
    assert count_parameters(own, teacher.facts.itself) == bare.num_parameters() != source.model.num_parameters()


@pytest.mark.parametrize(("of", "tokenizer"), PAIRS)
def test_a_start_at_full_width_embeds_words_that_both_have_as_the_teacher_does(paired, of, tokenizer):
    """Each word is one piece in either; the layers are the teacher's, so that the embeddings are."""
    teacher = paired(of, tokenizer)
    source, words = teacher.source, "ban den fi gort"
    shape = vars(teacher.facts.architecture)
    student = build_student({"method": "embed", "initialisation": "teacher_layers", **shape}, source, 0, None)
    ids = [each.tokenizer(words)["input_ids"] for each in (source, teacher)]
    if len(ids[0]) != len(ids[1]):
        pytest.skip("a byte-level tokenizer has another piece for the first word of a text")
    with torch.no_grad():
        ours, theirs = (
            hidden_states(model, torch.tensor([each]))
            for model, each in zip((student, teacher.model), ids, strict=True)
        )
    for student_BTD, teacher_BTD in zip(ours, theirs, strict=True):
        torch.testing.assert_close(student_BTD, teacher_BTD)


def test_the_teachers_own_tokenizer_changes_nothing(write_teacher, teacher):
    found = load_teacher(*named(write_teacher, "bert", "bert"))
    assert found.reworded is None and found.facts == teacher.facts


def test_each_row_is_one_text_in_the_tokens_of_both(both):
    teacher, folder = both
    corpus = open_corpus(folder)
    assert corpus.of_teacher is corpus.teachers and corpus.of_teacher.digest != corpus.digest
    for split in ("train", "held_out"):
        ours, theirs = getattr(corpus, split), getattr(corpus.teachers, split)
        assert len(ours) == len(theirs) > 0
        for row in range(0, len(ours), 7):
            ids, said = ours[row][: corpus.lengths[split][row]], theirs[row][: corpus.teachers.lengths[split][row]]
            text = teacher.source.tokenizer.decode(ids, skip_special_tokens=True)
            whole = teacher.tokenizer(text)["input_ids"]
            assert said[:-1].tolist() == whole[: len(said) - 1] and len(said) <= LONGEST


def test_it_learns_from_the_cache_as_from_the_live_teacher(both, write_teacher):
    teacher, folder = both
    corpus = open_corpus(folder)
    student = build_student(EMBED, teacher.source, 0, corpus)
    module = Distillation(student, teacher, corpus, EMBED, EXACT)
    plan = TargetPlan(
        teacher=str(write_teacher("bert")), teacher_digest="", corpus=str(folder),
        needs=Needs(states_of(module.teacher_signals)), blocks=tuple(blocks_visited(corpus, 8, 0).tolist()),
        held_out=len(corpus.held_out), views=1, mask_fraction=0.15, width=32, sequence_length=LONGEST, bf16=False,
    )  # fmt: skip
    targets, rows = fill(plan, teacher), np.arange(8)
    live, kept = (module.read(corpus, "train", rows, np.zeros_like(rows), EXACT, each) for each in (None, targets))
    assert live.states is None and live.teachers is not None and kept.teachers is None
    assert not torch.equal(live.inputs_BT, live.teachers.inputs_BT)
    with torch.no_grad():
        found = [float(module(teacher.model, each)) for each in (live, kept)]
        texts = [
            teacher.source.tokenizer.decode(corpus.train[row][: corpus.lengths["train"][row]], skip_special_tokens=True)
            for row in rows
        ]
        ours, theirs = embed(student, teacher.source.tokenizer, texts), embed(teacher.model, teacher.tokenizer, texts)
        ours = ours @ module.projections["embedding"].numpy()
    assert found[0] == pytest.approx(found[1], rel=2e-3)
    if (corpus.teachers.lengths["train"][rows] < LONGEST).all() and (corpus.lengths["train"][rows] < LONGEST).all():
        cosines = (ours * theirs).sum(1) / np.linalg.norm(ours, axis=1) / np.linalg.norm(theirs, axis=1)
        assert found[0] == pytest.approx(float((1 - cosines).mean()), rel=1e-3)


@pytest.mark.parametrize("family", [None, "modernbert"])
def test_a_whole_trial_hands_over_the_students_tokenizer(family, both, write_teacher, tmp_path):
    teacher, folder = both
    source = teacher.source
    columns = {split: separable(count, count) for split, count in (("train", 60), ("dev", 40))}
    task = TaskSpec("toy", str(write(tmp_path / "toy", **columns)), "classification", max_length=16)
    theirs = prepare_task(task, teacher.tokenizer, tmp_path / "cache")
    ours = prepare_task(task, source.tokenizer, tmp_path / "cache", teachers=theirs)
    assert as_teacher_reads(ours) == theirs == as_teacher_reads(theirs)
    job = TrialJob(
        trial=0, config=EMBED | ({} if family is None else {"family": family}), seed=0,
        teacher=str(write_teacher("bert")), tokenizer=str(write_teacher("xlm-roberta")), corpus=str(folder),
        tasks=(str(ours),), train_tokens=300, evaluation=EvaluationSpec(), floors={"toy": Reference(1.0, 0.4)},
        training=EXACT, keeps_start=True, folder=str(tmp_path / "checkpoints/00000"),
        student_folder=str(tmp_path / "students/00000"),
    )  # fmt: skip
    outcome = run_trial(job, lambda report: None)
    assert outcome.trained.steps > 0 and outcome.start_quality is not None
    made = load_teacher(job.student_folder)
    assert made.facts.family.name == family or family is None
    assert outcome.costs["parameters"] == count_parameters(made.facts.architecture, made.facts)
    assert made.facts.vocab_size == len(source.tokenizer) != teacher.facts.vocab_size
    tokenizer, model = (kind.from_pretrained(job.student_folder) for kind in (AutoTokenizer, AutoModel))
    text = "ba den fi gort ku ban"
    assert tokenizer(text)["input_ids"] == source.tokenizer(text)["input_ids"] != teacher.tokenizer(text)["input_ids"]
    assert model(**tokenizer([text], [text], return_tensors="pt")).last_hidden_state.isfinite().all()
    recipe = json.loads((tmp_path / "students/00000/recipe.json").read_text())
    assert recipe["tokenizer"] == write_teacher("xlm-roberta").name
    assert "tokenizer of" in (tmp_path / "students/00000/README.md").read_text()


def test_a_prompt_that_is_not_pooled_is_counted_in_the_students_tokens(write_teacher, tmp_path):
    folder = tmp_path / "teacher"
    folder.mkdir()
    for path in write_teacher("bert").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    modules = [("", "Transformer"), ("1_Pooling", "Pooling")]
    types = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in modules]
    (folder / "modules.json").write_text(json.dumps(types))
    (folder / "1_Pooling").mkdir()
    pooling = {"embedding_dimension": 32, "pooling_mode": "mean", "include_prompt": False}
    (folder / "1_Pooling/config.json").write_text(json.dumps(pooling))
    about = {"prompts": {"query": "ban xq "}, "default_prompt_name": "query"}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(about))
    teacher = load_teacher(str(folder), EmbeddingSpec(), str(write_teacher("xlm-roberta")))
    skipped = [embedder_of(each.model).skipped for each in (teacher, teacher.source)]
    assert skipped == [len(each.tokenizer("ban xq ")["input_ids"]) - 1 for each in (teacher, teacher.source)]
    assert skipped[0] != skipped[1]
    assert [each.embedding.skipped for each in (teacher.facts, teacher.facts.source)] == skipped


def test_what_students_could_not_do_with_is_refused_by_name(write_teacher, tmp_path):
    (tmp_path / "tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "tokenizer" / name).write_bytes((write_teacher("bert") / name).read_bytes())
    about = json.loads((tmp_path / "tokenizer/tokenizer_config.json").read_text())
    del about["pad_token"]
    (tmp_path / "tokenizer/tokenizer_config.json").write_text(json.dumps(about))
    cases = {
        (write_teacher("roberta"), tmp_path / "tokenizer"): "names no padding token",
        (write_teacher("roberta"), tmp_path / "absent"): "there is no such folder",
        (write_teacher("roberta"), tmp_path): "no tokenizer in that folder",
        (write_teacher("bert", labels=1), write_teacher("roberta")): "scores pairs, and students of such a teacher",
        (write_teacher("mpnet"), write_teacher("bert")): "id 1 must stay, but would become 0",
    }
    for (teacher, tokenizer), problem in cases.items():
        with pytest.raises(SpecError, match=rf"\[student\] tokenizer .*{problem}"):
            read_facts(str(teacher), EmbeddingSpec(), str(tokenizer))
    words = word_embeddings(load_teacher(*named(write_teacher, "bert", "roberta")).source.model)
    assert words.isfinite().all() and not words.requires_grad
    assert replace(read_facts(str(write_teacher("bert"))), reworded=None) == read_facts(str(write_teacher("bert")))


def test_the_teacher_embeds_the_documents_in_its_own_tokens_and_students_the_queries_in_theirs(paired, tmp_path, texts):
    teacher, source, found = paired("bert", "xlm-roberta"), tmp_path / "source", list(dict.fromkeys(texts(60)))
    documents, queries = {f"d{i}": text for i, text in enumerate(found[:12])}, found[20:26]
    write_beir(source, documents, {f"q{i}": text for i, text in enumerate(queries)},
               dev=[(f"q{i}", f"d{i}", 1) for i in range(6)])  # fmt: skip
    spec, folder = TaskSpec("toy", str(source), "retrieval"), None
    for each in (teacher, teacher.source):
        own = embedder_of(each.model)
        folder = prepare_task(spec, each.tokenizer, tmp_path / "cache", embedder=own, teachers=folder)
        folder = with_index(folder, teacher)
    wide = EMBED | {"hidden_size": 32, "num_heads": 4, "intermediate_size": 64, "initialisation": "random"}
    task, student = load_task(folder), build_student(wide, teacher.source, 0)
    index = embed(teacher.model, teacher.tokenizer, list(documents.values()))
    answers = [judged["document"][0] for judged in task.splits["dev"].labels]
    np.testing.assert_allclose(task.index_NE[answers], unit(index)[:6], atol=1e-5)
    found = score_task(student, task, EvaluationSpec("zero_shot", documents="teacher"), ["dev"], 0)["dev"]
    asked = embed(student, teacher.source.tokenizer, queries)
    ranks = [int((row > row[i]).sum()) + 1 for i, row in enumerate(unit(asked) @ unit(index).T)]
    assert found.score == pytest.approx(np.mean([1 / np.log2(r + 1) if r <= 10 else 0.0 for r in ranks]), abs=1e-6)


def unit(embeddings):
    """Of length 1."""
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

"""Make a teacher of one's own: cut a vocabulary to a corpus, train on by masked LM, distil into the shape to ship.

This is how the embedded teacher came to be. The stages are the tool's own trial loop under two methods: `mlm` from a
copy of the source model, then `od + hs + mlm` from the first stage into the wanted shape. Each stage is resumable.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from spaces.errors import SpecError
from spaces.students.architecture import SHAPE_KEYS, StudentArchitecture, parse_shape
from spaces.telling import Say
from trainables.cache import new_folder
from trainables.models.learned_vocabulary import learn_vocabulary
from trainables.models.student import build_student
from trainables.models.teacher import Teacher, load_teacher
from trainables.models.tokenizer import save_tokenizer
from trainables.models.vocabulary import trim
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.language_mix import mixed_texts, read_languages
from trainables.text.sources import CorpusSpec, read_texts
from trainables.training.checkpoint import CheckpointFile
from trainables.training.loop import distil
from trainables.training.masked_lm import masked_accuracy
from trainables.training.reports import TrialReport
from trainables.training.settings import TrainingRun, TrainingSpec


@dataclass(frozen=True)
class PretrainSpec:
    """What a teacher is made from and how long each stage trains."""

    source: str
    """The model to start from: a folder, a hub id or package:module/path."""
    corpus: str = "docs"
    language_temperature: float | None = None
    """Sample the corpus's languages, a folder each, with this temperature; None: all text as it is."""
    vocabulary: int = 6000
    learn_vocabulary: bool = False
    """Learn the vocabulary from the corpus instead of trimming the source's."""
    shape: str = "6x192h12"
    first_tokens: int = 1_500_000
    """Masked-LM tokens of the source's own shape over the trimmed vocabulary."""
    final_tokens: int = 2_500_000
    """Tokens of the distillation into `shape`."""
    sequence_length: int = 128
    batch_size: int = 16
    first_learning_rate: float = 3e-4
    final_learning_rate: float = 1e-3
    seed: int = 0


def pretrain(spec: PretrainSpec, work: Path, target: Path, progress: Say) -> float:
    """Write the teacher to `target` in float16 and return its masked-token accuracy on held-out text.

    Stages and checkpoints stay in `work`, so that an interrupted run goes on where it stood.
    """
    trimmed, first = work / "1-trimmed", work / "2-masked-lm"
    source = load_teacher(spec.source, where="--source")
    if not source.facts.masked_lm:
        raise SpecError(
            [f"--source {spec.source!r}: no model of type {source.facts.family.name} has a masked-LM head to train on"]
        )
    if source.facts.scores_pairs:
        raise SpecError([f"--source {spec.source!r} scores pairs, and has no masked-LM head to train on"])
    shape = source.facts.architecture
    wanted = parse_shape(spec.shape, shape.head_size)
    if wanted.family is not None:
        raise SpecError([f"--shape {spec.shape!r}: what is made is of the source's family, {source.facts.family.name}"])
    if not trimmed.is_dir():
        with new_folder(trimmed) as folder:
            told = write_vocabulary(spec, source, folder, progress)
        progress(f"vocabulary: {told}")
    if not first.is_dir():
        config = stage_config(shape, "mlm", "teacher_layers", spec.first_learning_rate, spec.batch_size)
        train_stage(spec, str(trimmed), config, spec.first_tokens, work / "2-masked-lm.safetensors", first, progress)
    config = stage_config(
        wanted,
        "od + hs + mlm",
        "projected_layers",
        spec.final_learning_rate,
        spec.batch_size,
    ) | {"temperature": 2.0, "mapping": "uniform"}
    final = work / "3-distilled"
    if not final.is_dir():
        train_stage(spec, str(first), config, spec.final_tokens, work / "3-distilled.safetensors", final, progress)
    return publish(spec, final, target, progress)


def corpus_of(spec: PretrainSpec) -> CorpusSpec:
    """What every stage reads."""
    return CorpusSpec(spec.corpus, spec.sequence_length, language_temperature=spec.language_temperature)


def write_vocabulary(spec: PretrainSpec, source: Teacher, folder: Path, progress: Say) -> str:
    """The source over a trimmed or a learned vocabulary, written to `folder`; what became of it, in words."""
    cut = corpus_of(spec)
    if spec.language_temperature is None:
        texts, _ = read_texts(cut, progress)
    else:
        texts = mixed_texts(cut, source.tokenizer, progress)
    if spec.learn_vocabulary:
        told = learn_vocabulary(source.model, source.tokenizer, texts, spec.vocabulary, folder)
    else:
        told = trim(source.model, source.tokenizer, texts, spec.vocabulary, folder).text
    if spec.language_temperature is not None:
        tokenizer = load_teacher(str(folder)).tokenizer
        unknown = {
            language: sum(ids.count(tokenizer.unk_token_id) for ids in each.tokens) / each.num_tokens
            for language, each in read_languages(cut, tokenizer, progress).items()
        }
        told += f"; unknown tokens: {', '.join(f'{language} {share:.1%}' for language, share in unknown.items())}"
    return told


def stage_config(
    shape: StudentArchitecture, method: str, initialisation: str, learning_rate: float, batch_size: int
) -> dict:
    """A trial's configuration."""
    return {
        "method": method, "initialisation": initialisation, "learning_rate": learning_rate, "batch_size": batch_size,
        **{key: getattr(shape, key) for key in SHAPE_KEYS},
    }  # fmt: skip


def train_stage(
    spec: PretrainSpec, teacher_path: str, config: dict, tokens: int, checkpoint: Path, target: Path, progress: Say
) -> None:
    """One stage: build, train with checkpoints, save in float32 with the tokenizer."""
    teacher = load_teacher(teacher_path)
    corpus = open_corpus(prepare_corpus(corpus_of(spec), teacher.tokenizer, progress))
    student = build_student(config, teacher, spec.seed, corpus)

    def show(report: TrialReport) -> None:
        progress(
            f"{target.name}: {report.train_tokens:,} of {tokens:,} tokens, loss {report.loss:.4f}, "
            f"{report.tokens_per_s:,.0f} tokens/s"
        )

    run = TrainingRun(config, tokens, spec.seed, TrainingSpec(checkpoint_every_s=30.0))
    distil(student, teacher, corpus, run, show, checkpoint=CheckpointFile(checkpoint))
    progress(f"{target.name}: masked-token accuracy on held-out text {masked_accuracy(student, corpus).right:.1%}")
    with new_folder(target) as folder:
        student.save_pretrained(folder)
        save_tokenizer(teacher.tokenizer, folder)


def publish(spec: PretrainSpec, final: Path, target: Path, progress: Say) -> float:
    """Halve the weights' precision, write the card, and measure what is written."""
    made = load_teacher(str(final))
    with new_folder(target) as folder:
        made.model.half().save_pretrained(folder)
        save_tokenizer(made.tokenizer, folder)
        (folder / "recipe.json").write_text(json.dumps(asdict(spec), indent=1) + "\n")
    teacher = load_teacher(str(target))
    corpus = open_corpus(prepare_corpus(corpus_of(spec), teacher.tokenizer, progress))
    accuracy = masked_accuracy(teacher.model, corpus).right
    size = sum(path.stat().st_size for path in target.iterdir())
    progress(f"{target}: {size / 2**20:.2f} MiB, masked-token accuracy on held-out text {accuracy:.1%}")
    return accuracy

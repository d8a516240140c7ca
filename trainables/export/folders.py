"""Hand a student over: a folder that plain `AutoModel.from_pretrained` loads, with its card and its recipe.

The folder is written beside its final place, loaded again with nothing but transformers and compared with the model in
memory, and only then renamed: an export folder that exists is one that works.

Files: model.safetensors, config.json, the tokenizer's own, README.md (the card), recipe.json (everything that is known
about how the student came about), and modules.json with the folders of its steps, which sentence-transformers reads; a
cross-encoder needs none of these.
`add` may write further files, such as those of artefact.py.
"""

import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from spaces.errors import StillhouseError
from trainables.cache import new_folder
from trainables.export.card import card_text, recipe_text
from trainables.export.facts import ArtefactFacts, StudentFacts
from trainables.export.graphs import sample_inputs
from trainables.models.embedding import embed, embedder_of, set_embedder
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.models.encoder import classes_of, family_of, outputs_of, scores_pairs, usable_positions
from trainables.models.loading import quiet_transformers
from trainables.models.pair_scores import score_pairs
from trainables.models.sentence_folders import read_embedder, write_embedder
from trainables.models.tokenizer import save_tokenizer

TOLERANCE = 1e-5
PROBE_TEXTS = ("A student is tested on what it was taught.", "Short text.")


def export_student(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    facts: StudentFacts,
    *,
    weights: bool = True,
    add: Callable[[Path], ArtefactFacts] | None = None,
) -> Path:
    """Write, verify and publish the folder; an earlier export in its place is replaced, anything else is refused.

    Card and recipe tell `facts`; what the model itself says (its type, its head) is filled in. Without `weights` the
    folder holds the untrained recipe only: config, tokenizer, card. `add` writes a file for another runtime into the
    folder before it is put in place, and returns what the card says of it.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / "recipe.json").is_file():
        raise StillhouseError(f"{folder} exists and is not an exported student (no recipe.json); choose another folder")
    if add is not None and scores_pairs(model):
        raise StillhouseError("a student that scores pairs is written for torch alone: leave --runtime out")
    facts = replace(
        facts, model_type=model.config.model_type, masked_lm=is_masked_lm(model), scores_pairs=scores_pairs(model),
        classes=classes_of(model), weights=weights,
    )  # fmt: skip
    with new_folder(folder) as unfinished, quiet_transformers():
        if weights:
            model.save_pretrained(unfinished)
        else:
            model.config.save_pretrained(unfinished)
        save_tokenizer(tokenizer, unfinished, types=reads_types(model.config))
        if not scores_pairs(model):
            write_embedder(unfinished, embedder_of(model), model.config.hidden_size)
        if add is not None:
            facts = replace(facts, artefact=add(unfinished))
        (unfinished / "recipe.json").write_text(recipe_text(facts), encoding="utf-8")
        (unfinished / "README.md").write_text(card_text(facts), encoding="utf-8")
        verify_tokenizer(tokenizer, unfinished)
        if weights:
            verify_model(model, unfinished)
            if not scores_pairs(model):
                verify_embeddings(model, tokenizer, unfinished)
        if folder.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
            folder.rename(retired / "was")
            shutil.rmtree(retired)
    return folder


def reads_types(config: PretrainedConfig) -> bool:
    """Whether a model tells token types apart: another tokenizer than its teacher's may give more than it has rows."""
    return family_of(config).has_types and config.type_vocab_size > 1


def verify_model(model: PreTrainedModel, folder: Path) -> None:
    """Load the folder as a user would and compare outputs; raises StillhouseError with the difference."""
    inputs, device = sample_inputs(model), str(model.device)
    check_same(model.base_model, AutoModel.from_pretrained(folder).to(device), inputs, "last_hidden_state", folder)
    if is_masked_lm(model):
        check_same(model, AutoModelForMaskedLM.from_pretrained(folder).to(device), inputs, "logits", folder)
    if outputs_of(model):
        reloaded = AutoModelForSequenceClassification.from_pretrained(folder).to(device)
        check_same(model, reloaded, inputs, "logits", folder)


@torch.inference_mode()
def check_same(
    model: nn.Module, reloaded: PreTrainedModel, inputs: Mapping[str, Tensor], output: str, folder: Path
) -> None:
    """Compare one output of two models, at the valid positions or of each text."""
    was_training = model.training
    try:
        ours, theirs = model.eval()(**inputs)[output], reloaded.eval()(**inputs)[output]
    finally:
        model.train(was_training)
    mask = inputs["attention_mask"].bool()
    valid = mask if ours.shape[:2] == mask.shape else slice(None)
    difference = float((ours[valid].float() - theirs[valid].float()).abs().max())
    if not difference < TOLERANCE:
        raise StillhouseError(
            f"the student written to {folder.name} gives other numbers when loaded again: {output} differs by "
            f"{difference:.2g}, more than {TOLERANCE:g}"
        )


def verify_tokenizer(tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """The reloaded tokenizer must cut texts as before."""
    reloaded = AutoTokenizer.from_pretrained(folder)
    ours, theirs = (each(list(PROBE_TEXTS))["input_ids"] for each in (tokenizer, reloaded))
    if ours != theirs:
        raise StillhouseError(f"the tokenizer written to {folder.name} gives other ids when loaded: {ours}, {theirs}")


def verify_embeddings(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """The folder must embed as the model in memory does; as sentence-transformers reads it, where that is installed."""
    reloaded = AutoModel.from_pretrained(folder).to(str(model.device))
    positions = usable_positions(model.config)
    set_embedder(reloaded, read_embedder(folder, EmbeddingSpec(), model.config.hidden_size, positions))
    ours_NE, theirs_NE = (embed(each, tokenizer, PROBE_TEXTS) for each in (model, reloaded))
    same_embeddings(ours_NE, theirs_NE, folder, "read again")


def verify_with_library(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """What sentence-transformers gives of the folder, where it is installed; it takes seconds to import."""
    if find_spec("sentence_transformers") is None:
        return
    if scores_pairs(model):
        verify_scores(model, tokenizer, folder)
        return
    from sentence_transformers import SentenceTransformer

    with quiet_transformers():  # the pooler that it makes and does not use is no news
        reader = SentenceTransformer(str(folder), device=str(model.device), local_files_only=True)
    ours_NE, theirs_NE = embed(model, tokenizer, PROBE_TEXTS), reader.encode(list(PROBE_TEXTS))
    same_embeddings(ours_NE, theirs_NE, folder, "read by sentence-transformers")


def verify_scores(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, folder: Path) -> None:
    """What `CrossEncoder(folder).predict` gives, before its activation."""
    from sentence_transformers import CrossEncoder

    with quiet_transformers():
        reader = CrossEncoder(str(folder), device=str(model.device), local_files_only=True)
    pairs = [(query, passage) for query in PROBE_TEXTS for passage in PROBE_TEXTS]
    theirs_N = reader.predict(pairs, activation_fn=nn.Identity(), show_progress_bar=False)
    difference = float(np.abs(score_pairs(model, tokenizer, pairs) - theirs_N).max())
    if not difference < TOLERANCE:
        raise StillhouseError(
            f"the student written to {folder.name} gives other scores when read by sentence-transformers: they differ "
            f"by {difference:.2g}, more than {TOLERANCE:g}"
        )


def same_embeddings(ours_NE: np.ndarray, theirs_NE: np.ndarray, folder: Path, how: str) -> None:
    """Raises StillhouseError with the difference, relative to the largest value."""
    fits = ours_NE.shape == theirs_NE.shape
    difference = float(np.abs(ours_NE - theirs_NE).max() / np.abs(ours_NE).max()) if fits else float("inf")
    if not difference < TOLERANCE:
        raise StillhouseError(
            f"the student written to {folder.name} gives other embeddings when {how}: they differ by "
            f"{difference:.2g}, more than {TOLERANCE:g}"
        )


def is_masked_lm(model: PreTrainedModel) -> bool:
    """Whether the model carries a masked-LM head."""
    return model.get_output_embeddings() is not None

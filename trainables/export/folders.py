"""Hand a student over: a folder that plain `AutoModel.from_pretrained` loads, with its card and its recipe.

The folder is written beside its final place, loaded again with nothing but transformers and compared with the model in
memory, and only then renamed: an export folder that exists is one that works.

Files: model.safetensors, config.json, the tokenizer's own, README.md (the card), recipe.json (everything that is known
about how the student came about), and modules.json with the folders of its steps, which sentence-transformers reads.
`export_onnx` adds model.onnx.
"""

import logging
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoModel, AutoModelForMaskedLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from spaces.errors import StillhouseError
from trainables.cache import new_file, new_folder
from trainables.export.card import card_text, recipe_text
from trainables.models.embedding import embed, embedder_of, set_embedder
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.models.encoder import usable_positions
from trainables.models.loading import quiet_transformers
from trainables.models.sentence_folders import read_embedder, write_embedder
from trainables.models.tokenizer import save_tokenizer

TOLERANCE = 1e-5
ONNX_TOLERANCE = 1e-4
ONNX_OPSET = 20
"""GELU is one operator since then, which onnxruntime runs as one (2 to 3 % of the latency); 1.17 and later read it."""
PROBE_TEXTS = ("A student is tested on what it was taught.", "Short text.")


def export_student(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: str | Path,
    card: Mapping[str, Any],
    *,
    weights: bool = True,
) -> Path:
    """Write, verify and publish the folder; an earlier export in its place is replaced, anything else is refused.

    `card`: see trainables/export/card.py for the keys it shows; all of it goes into recipe.json. Without `weights` the
    folder holds the untrained recipe only: config, tokenizer, card.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()) and not (folder / "recipe.json").is_file():
        raise StillhouseError(f"{folder} exists and is not an exported student (no recipe.json); choose another folder")
    facts = {"model_type": model.config.model_type, "masked_lm": is_masked_lm(model), "weights": weights, **card}
    with new_folder(folder) as unfinished, quiet_transformers():
        if weights:
            model.save_pretrained(unfinished)
        else:
            model.config.save_pretrained(unfinished)
        save_tokenizer(tokenizer, unfinished)
        write_embedder(unfinished, embedder_of(model), model.config.hidden_size)
        (unfinished / "recipe.json").write_text(recipe_text(facts), encoding="utf-8")
        (unfinished / "README.md").write_text(card_text(facts), encoding="utf-8")
        verify_tokenizer(tokenizer, unfinished)
        if weights:
            verify_model(model, unfinished)
            verify_embeddings(model, tokenizer, unfinished)
        if folder.exists():
            retired = Path(tempfile.mkdtemp(prefix=f".{folder.name}.old.", dir=folder.parent))
            folder.rename(retired / "was")
            shutil.rmtree(retired)
    return folder


def verify_model(model: PreTrainedModel, folder: Path) -> None:
    """Load the folder as a user would and compare outputs; raises StillhouseError with the difference."""
    inputs, device = sample_inputs(model), str(model.device)
    check_same(model.base_model, AutoModel.from_pretrained(folder).to(device), inputs, "last_hidden_state", folder)
    if is_masked_lm(model):
        check_same(model, AutoModelForMaskedLM.from_pretrained(folder).to(device), inputs, "logits", folder)


@torch.inference_mode()
def check_same(
    model: nn.Module, reloaded: PreTrainedModel, inputs: Mapping[str, Tensor], output: str, folder: Path
) -> None:
    """Compare one output of two models at the valid positions."""
    was_training = model.training
    try:
        ours, theirs = model.eval()(**inputs)[output], reloaded.eval()(**inputs)[output]
    finally:
        model.train(was_training)
    valid = inputs["attention_mask"].bool()
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
    """What `SentenceTransformer(folder).encode` gives, where the library is installed; it takes seconds to import."""
    if find_spec("sentence_transformers") is None:
        return
    from sentence_transformers import SentenceTransformer

    with quiet_transformers():  # the pooler that it makes and does not use is no news
        reader = SentenceTransformer(str(folder), device=str(model.device), local_files_only=True)
    ours_NE, theirs_NE = embed(model, tokenizer, PROBE_TEXTS), reader.encode(list(PROBE_TEXTS))
    same_embeddings(ours_NE, theirs_NE, folder, "read by sentence-transformers")


def same_embeddings(ours_NE: np.ndarray, theirs_NE: np.ndarray, folder: Path, how: str) -> None:
    """Raises StillhouseError with the difference, relative to the largest value."""
    fits = ours_NE.shape == theirs_NE.shape
    difference = float(np.abs(ours_NE - theirs_NE).max() / np.abs(ours_NE).max()) if fits else float("inf")
    if not difference < TOLERANCE:
        raise StillhouseError(
            f"the student written to {folder.name} gives other embeddings when {how}: they differ by "
            f"{difference:.2g}, more than {TOLERANCE:g}"
        )


def sample_inputs(model: PreTrainedModel) -> dict[str, Tensor]:
    """Two sequences of random tokens, one of them padded."""
    length = min(16, usable_positions(model.config) // 2)
    shape, generator = (2, length), torch.Generator().manual_seed(0)
    ids_BT = torch.randint(0, model.config.vocab_size, shape, generator=generator)
    mask_BT = torch.ones_like(ids_BT)
    mask_BT[1, length // 2 :] = 0
    pad_id = model.config.pad_token_id or 0
    ids_BT = torch.where(mask_BT.bool() & (ids_BT == pad_id), (pad_id + 1) % model.config.vocab_size, ids_BT)
    ids_BT = torch.where(mask_BT.bool(), ids_BT, pad_id)
    return {"input_ids": ids_BT.to(model.device), "attention_mask": mask_BT.to(model.device)}


def is_masked_lm(model: PreTrainedModel) -> bool:
    """Whether the model carries a masked-LM head."""
    return model.base_model is not model


class LastHiddenState(nn.Module):
    """The encoder with a tensor for an output, which is what ONNX wants."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """BTD."""
        return self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state


def export_onnx(model: PreTrainedModel, folder: str | Path, *, name: str = "model.onnx") -> Path:
    """Write the encoder as ONNX with free batch and sequence axes, verified by onnxruntime on another shape.

    Inputs input_ids and attention_mask, output last_hidden_state; a language-modelling head is left out.
    """
    need_onnx()
    file = Path(folder) / name
    module: nn.Module = model
    home, was_training = model.device, model.training
    try:
        module.to("cpu").eval()
        encoder = LastHiddenState(model.base_model).eval()
        with new_file(file) as unfinished:
            write_onnx(encoder, sample_inputs(model), unfinished)
            verify_onnx(encoder, sample_inputs(model), unfinished)
    finally:
        module.to(home).train(was_training)
    return file


def need_onnx() -> None:
    """Raises StillhouseError, which names it, when a package is missing."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise StillhouseError(f"ONNX export needs the package {package}: pip install 'stillhouse[onnx]'")


def write_onnx(encoder: nn.Module, inputs: dict[str, Tensor], file: Path) -> None:
    """Trace by torch.export."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of torchvision, which is not wanted here
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("sequence")}
    with warnings.catch_warnings():
        # The exporter's own: both inputs share their axes, and it uses a torch API that torch deprecates.
        warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        torch.onnx.export(
            encoder,
            (),
            str(file),
            kwargs=inputs,
            input_names=list(inputs),
            output_names=["last_hidden_state"],
            dynamic_shapes=dict.fromkeys(inputs, axes),
            opset_version=ONNX_OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )


@torch.inference_mode()
def verify_onnx(encoder: nn.Module, inputs: dict[str, Tensor], file: Path) -> None:
    """Compare on three shorter sequences, so that fixed axes are found out."""
    import onnxruntime

    shorter = {key: torch.cat([value, value[:1]])[:, :-3].contiguous() for key, value in inputs.items()}
    ours = encoder(**shorter)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    theirs = torch.from_numpy(session.run(None, {key: value.numpy() for key, value in shorter.items()})[0])
    valid = shorter["attention_mask"].bool()
    difference = float((ours[valid] - theirs[valid]).abs().max())
    if not difference < ONNX_TOLERANCE:
        raise StillhouseError(
            f"the ONNX file gives other numbers than the model: they differ by {difference:.2g}, "
            f"more than {ONNX_TOLERANCE:g}; it was not kept"
        )

"""What runs in production: a student as a file of another runtime, compared with the student before it is handed over.

The file lies where others look for it (spaces/records/runtimes.py), beside an example that needs the runtime and
tokenizers alone. Held-out text says how far its embeddings are from the student's, and from its own in
another batch. A search scores that file in the place of the student (`as_deployed`).

Shapes: N texts, E width of an embedding.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from spaces.errors import SpecError, StillhouseError
from spaces.records.deploy import DeploySpec
from spaces.records.runtimes import ONNX, RUNTIMES, base_of, entry, maps_in_float, opener
from trainables.export.card import SAME
from trainables.export.examples import example
from trainables.export.facts import ArtefactFacts
from trainables.export.graphs import export_onnx, sample_inputs
from trainables.export.half_precision import HALF
from trainables.export.inside import Inside
from trainables.export.quantising import FEWEST_TEXTS, STATIC, quantiser_of
from trainables.machine import WITHOUT_VNNI, without_vnni
from trainables.models.embedding import embed_tokens, embedder_of
from trainables.models.encoder import architecture, classes_of
from trainables.models.file_encoder import EMBEDDING, LOGITS, FileEncoder, open_encoder
from trainables.models.pair_scores import logits_of
from trainables.models.sessions import Session
from trainables.text.batching import padded
from trainables.text.corpus import Corpus
from trainables.text.ragged import ragged

CALIBRATION_TEXTS, PARITY_TEXTS = 64, 128
BATCH = 16

Rows = Sequence[np.ndarray]
"""Token ids of texts, special tokens included."""


@dataclass(frozen=True)
class Parity:
    """How an artefact embeds held-out text, beside the student in torch. Embeddings are compared at length 1."""

    texts: int
    cosine: float
    """mean over the texts"""
    lowest_cosine: float
    batch_difference: float
    """the largest difference of any value between a text alone and the same text in a batch"""
    same_class: float | None = None
    """share of the texts that both find of one class, of a classifier"""

    @property
    def line(self) -> str:
        """For a person."""
        alone = "the same alone and in a batch"
        if self.batch_difference > SAME:
            alone = f"up to {self.batch_difference:.2g} apart alone and in a batch"
        return (
            f"embeddings of {self.texts} held-out texts: cosine {self.cosine:.4f} to the student in torch, "
            f"at the least {self.lowest_cosine:.4f}; {alone}"
            + ("" if self.same_class is None else f"; {self.same_class:.1%} of them of the same class")
        )


def write_file(model: PreTrainedModel, file: Path, deploy: DeploySpec, corpus: Corpus) -> Path:
    """The file of a student, its scales found on text of the corpus. The same input gives the same file."""
    with tempfile.TemporaryDirectory() as scratch:
        graph = export_onnx(model, Path(scratch) / "float.onnx")
        if (quantise := quantiser_of(deploy.first)) is not None:
            names, small = sample_inputs(model), Path(scratch) / "small.onnx"
            quantise(graph, small, [feeds_of([row], 0, names) for row in calibration_rows(corpus)])  # none is padded
            graph = small
        return file_of(graph, file, deploy.runtime)


def file_of(graph: Path, file: Path, runtime: str) -> Path:
    """An ONNX graph as the file that a runtime reads."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if writes := RUNTIMES[runtime].writes:
        return entry(writes)(graph, file)
    return Path(shutil.copyfile(graph, file))


def need_calibration(deploy: DeploySpec, corpus: Corpus) -> None:
    """Raises SpecError for a corpus with too little text to find the scales of activations on."""
    count = len(calibration_rows(corpus))
    if STATIC in map(base_of, deploy.precisions) and count < FEWEST_TEXTS:
        raise SpecError(
            [
                f"[deploy] precision {STATIC!r} needs {FEWEST_TEXTS} texts to find the range of the activations, the "
                f"corpus has {count} of its median length: give more text, or take precision = 'int8-dynamic', which "
                "needs none"
            ]
        )


def as_deployed(model: PreTrainedModel, deploy: DeploySpec, corpus: Corpus) -> PreTrainedModel | FileEncoder:
    """What is scored of a student: its file, of several the first, or the student itself where none is scored."""
    if not deploy.is_scored:
        return model
    with tempfile.TemporaryDirectory() as scratch:
        file = write_file(model, Path(scratch) / Path(deploy.place).name, deploy, corpus)
        layers = architecture(model.config).num_layers
        return open_encoder(deploy.runtime, file, model.config, embedder_of(model), layers, classes_of(model))


def write_artefact(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    deploy: DeploySpec,
    corpus: Corpus,
    say: Callable[[str], None],
) -> ArtefactFacts:
    """Write file and example into the folder of a student; returns what its card says of them.

    Raises StillhouseError when the mean cosine to the student is further from 1 than `deploy.tolerance`.
    """
    file, runtime = folder / deploy.place, RUNTIMES[deploy.runtime]
    pad_id = tokenizer.pad_token_id or 0
    write_file(model, file, deploy, corpus)
    inside: Inside = entry(runtime.inspects)(file)
    parity = compare(model, file, parity_rows(corpus), pad_id, deploy.runtime)
    layers = architecture(model.config).num_layers
    megabytes = runtime.size_mb(file)
    fused = "" if inside.fused_attentions is None else f", {inside.fused_attentions} of {layers} attentions fused"
    say(f"{deploy.place}: {deploy.first}, {megabytes:.1f} MB{fused}")
    say(parity.line)
    if deploy.is_rounded and inside.in_float:
        say(f"in float32, since {why_float(deploy.first, len(inside.in_float))}: {'; '.join(inside.in_float)}")
    if deploy.gains_by_vnni and without_vnni():
        say(WITHOUT_VNNI)
    if not 1 - parity.cosine <= deploy.tolerance:
        raise StillhouseError(
            f"the {deploy.first} file is too far from the student: the mean cosine of its embeddings is "
            f"{1 - parity.cosine:.2g} below 1, more than --tolerance {deploy.tolerance:g}; it was not kept. "
            f"--tolerance {round_up(1 - parity.cosine):g} would keep it"
        )
    program = example(deploy.runtime, model, tokenizer, deploy.place)
    (folder / runtime.example).write_text(program, encoding="utf-8")
    return ArtefactFacts(
        deploy.place, deploy.first, inside.opset, megabytes, inside.fused_attentions, layers, **asdict(parity),
        runtime=deploy.runtime,
    )  # fmt: skip


def why_float(precision: str, count: int) -> str:
    """Why so many learned matrices of a file are in float32."""
    if precision == HALF:
        return "numbers there are large for float16"
    if not (asked := maps_in_float(precision)):
        return "the quantiser does not take it"
    told = f"rounding these {asked} moves embeddings most"
    if count < asked:
        return f"{precision} leaves {asked} maps so, and there are no more"
    return told if count == asked else f"{told}, or the quantiser does not take it"


def round_up(value: float) -> float:
    """To two places after the first digit that is not 0."""
    places = 2 - int(np.floor(np.log10(max(value, 1e-9))))
    return float(np.ceil(value * 10**places) / 10**places)


def calibration_rows(corpus: Corpus) -> Rows:
    """Up to CALIBRATION_TEXTS texts that train, spread over all of them, cut to the length that half of them reach."""
    rows = rows_of(corpus, "train", CALIBRATION_TEXTS)
    length = int(np.median([len(row) for row in rows]))
    return [row[:length] for row in rows if len(row) >= length]


def parity_rows(corpus: Corpus) -> Rows:
    """Held-out texts of lengths from eight tokens to all, so that their batches are padded."""
    rows = rows_of(corpus, "held_out", PARITY_TEXTS)
    shares = np.random.default_rng(0).random(len(rows))
    return [row[: 8 + int(share * max(0, len(row) - 8))] for row, share in zip(rows, shares, strict=True)]


def rows_of(corpus: Corpus, split: str, count: int) -> Rows:
    """Some rows of a corpus, spread over all, without padding."""
    total = len(getattr(corpus, split))
    chosen = np.unique(np.linspace(0, total - 1, min(count, total)).astype(int))
    ids, mask = corpus.read(split, chosen)
    lengths = np.full(len(chosen), ids.shape[1]) if mask is None else mask.sum(1)
    return [row[:length] for row, length in zip(ids, lengths, strict=True)]


def feeds_of(rows: Rows, pad_id: int, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The named inputs of a graph for a batch of texts; all token types are 0, as students are scored."""
    ids_BT, mask_BT = (each.numpy() for each in padded(rows, pad_id))
    found = {"input_ids": ids_BT, "attention_mask": mask_BT, "token_type_ids": np.zeros_like(ids_BT)}
    return {name: found[name] for name in names}


def embed_by_file(file: Path, rows: Rows, pad_id: int, batch: int, runtime: str = ONNX) -> np.ndarray:
    """Embeddings NE of texts by the runtime of a file, in batches of their own order."""
    return run_file(file, EMBEDDING, rows, pad_id, batch, runtime)


def run_file(file: Path, output: str, rows: Rows, pad_id: int, batch: int, runtime: str) -> np.ndarray:
    """An output of a file for texts, a row each."""
    session: Session = opener(runtime)(file, torch.get_num_threads())
    batches = (rows[start : start + batch] for start in range(0, len(rows), batch))
    return np.concatenate([session.run([output], feeds_of(each, pad_id, session.inputs))[0] for each in batches])


def compare(model: PreTrainedModel, file: Path, rows: Rows, pad_id: int, runtime: str = ONNX) -> Parity:
    """Embeddings of texts by torch, by the file alone, and by the file in batches."""
    ours, alone, together = (
        found_NE / np.maximum(np.linalg.norm(found_NE, axis=-1, keepdims=True), 1e-12)
        for found_NE in (
            embed_tokens(model, ragged(rows, np.int64), pad_id),
            *(embed_by_file(file, rows, pad_id, batch, runtime) for batch in (1, BATCH)),
        )
    )
    cosines_N = (ours * alone).sum(-1)
    moved = float(np.abs(alone - together).max())
    alike = same_class(model, file, rows, pad_id, runtime)
    return Parity(len(rows), float(cosines_N.mean()), float(cosines_N.min()), moved, alike)


def same_class(model: PreTrainedModel, file: Path, rows: Rows, pad_id: int, runtime: str) -> float | None:
    """The share of texts that a classifier and its file find of one class; None of another model."""
    if not classes_of(model):
        return None
    ours_NC = logits_of(model, ragged(rows, np.int64), pad_id)
    theirs_NC = run_file(file, LOGITS, rows, pad_id, 1, runtime)
    return float((ours_NC.argmax(1) == theirs_NC.argmax(1)).mean())

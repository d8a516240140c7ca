"""What runs in production: a student as one ONNX file that is compared with the student before it is handed over.

The file lies in onnx/ under the name that optimum and transformers.js look for, beside an example that needs
onnxruntime and tokenizers alone. Held-out text says how far its embeddings are from the student's, and from its own in
another batch. A search scores that file in the place of the student (`as_deployed`).

Shapes: N texts, E width of an embedding.
"""

import json
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from spaces.errors import SpecError, StillhouseError
from spaces.records.deploy import FILES, FOLDER, DeploySpec
from trainables.export.card import SAME
from trainables.export.facts import ArtefactFacts
from trainables.export.graphs import OPSET, attentions, export_onnx, sample_inputs
from trainables.export.half_precision import HALF
from trainables.export.quantising import FEWEST_TEXTS, QUANTISERS, STATIC, float_weights
from trainables.machine import WITHOUT_VNNI, without_vnni
from trainables.models.embedding import embed_tokens, embedder_of
from trainables.models.encoder import architecture
from trainables.models.file_encoder import EMBEDDING, FileEncoder, open_encoder
from trainables.text.batching import padded
from trainables.text.corpus import Corpus
from trainables.text.ragged import ragged

CALIBRATION_TEXTS, PARITY_TEXTS = 64, 128
BATCH = 16
EXAMPLE = "onnx_example.py"

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

    @property
    def line(self) -> str:
        """For a person."""
        alone = "the same alone and in a batch"
        if self.batch_difference > SAME:
            alone = f"up to {self.batch_difference:.2g} apart alone and in a batch"
        return (
            f"embeddings of {self.texts} held-out texts: cosine {self.cosine:.4f} to the student in torch, "
            f"at the least {self.lowest_cosine:.4f}; {alone}"
        )


def write_file(model: PreTrainedModel, file: Path, precision: str, corpus: Corpus) -> Path:
    """The file of a student, its scales found on text of the corpus. The same input gives the same file."""
    quantise = QUANTISERS.get(precision)
    if quantise is None:
        return export_onnx(model, file)
    with tempfile.TemporaryDirectory() as scratch:
        graph, names = export_onnx(model, Path(scratch) / "model.onnx"), sample_inputs(model)
        quantise(graph, file, [feeds_of([row], 0, names) for row in calibration_rows(corpus)])  # none is padded
    return file


def need_calibration(deploy: DeploySpec, corpus: Corpus) -> None:
    """Raises SpecError for a corpus with too little text to find the scales of activations on."""
    count = len(calibration_rows(corpus))
    if STATIC in deploy.precisions and count < FEWEST_TEXTS:
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
        file = write_file(model, Path(scratch) / FILES[deploy.first], deploy.first, corpus)
        return open_encoder(file, model.config, embedder_of(model), architecture(model.config).num_layers)


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
    file = folder / FOLDER / FILES[deploy.first]
    file.parent.mkdir(exist_ok=True)
    pad_id = tokenizer.pad_token_id or 0
    fused = attentions(write_file(model, file, deploy.first, corpus))
    parity = compare(model, file, parity_rows(corpus), pad_id)
    layers = architecture(model.config).num_layers
    megabytes = file.stat().st_size / 1e6
    say(f"{file.relative_to(folder)}: {deploy.first}, {megabytes:.1f} MB, {fused} of {layers} attentions fused")
    say(parity.line)
    if deploy.is_rounded and (left := float_weights(file)):
        why = "numbers there are large for float16" if deploy.first == HALF else "the quantiser does not take it"
        say(f"in float32, since {why}: {'; '.join(left)}")
    if deploy.gains_by_vnni and without_vnni():
        say(WITHOUT_VNNI)
    if not 1 - parity.cosine <= deploy.tolerance:
        raise StillhouseError(
            f"the {deploy.first} file is too far from the student: the mean cosine of its embeddings is "
            f"{1 - parity.cosine:.2g} below 1, more than --tolerance {deploy.tolerance:g}; it was not kept. "
            f"--tolerance {round_up(1 - parity.cosine):g} would keep it"
        )
    (folder / EXAMPLE).write_text(example(model, tokenizer, file.relative_to(folder).as_posix()), encoding="utf-8")
    return ArtefactFacts(
        file.relative_to(folder).as_posix(), deploy.first, OPSET, megabytes, fused, layers, **asdict(parity)
    )


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


def embed_by_file(file: Path, rows: Rows, pad_id: int, batch: int) -> np.ndarray:
    """Embeddings NE of texts by onnxruntime, in batches of their own order."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    batches = (rows[start : start + batch] for start in range(0, len(rows), batch))
    return np.concatenate([session.run([EMBEDDING], feeds_of(each, pad_id, names))[0] for each in batches])


def compare(model: PreTrainedModel, file: Path, rows: Rows, pad_id: int) -> Parity:
    """Embeddings of texts by torch, by the file alone, and by the file in batches."""
    ours, alone, together = (
        found_NE / np.maximum(np.linalg.norm(found_NE, axis=-1, keepdims=True), 1e-12)
        for found_NE in (
            embed_tokens(model, ragged(rows, np.int64), pad_id),
            *(embed_by_file(file, rows, pad_id, batch) for batch in (1, BATCH)),
        )
    )
    cosines_N = (ours * alone).sum(-1)
    return Parity(len(rows), float(cosines_N.mean()), float(cosines_N.min()), float(np.abs(alone - together).max()))


def example(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, file: str) -> str:
    """A program that embeds two texts with onnxruntime and tokenizers alone."""
    embedder, pad = embedder_of(model), tokenizer.pad_token or ""
    return f'''"""Embeddings of texts with onnxruntime and tokenizers alone: pip install onnxruntime tokenizers numpy"""

from pathlib import Path

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

FOLDER = Path(__file__).parent
PROMPT = {json.dumps(embedder.prompt)}
tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
tokenizer.enable_truncation({embedder.max_length})
tokenizer.enable_padding(pad_id={tokenizer.pad_token_id or 0}, pad_token={json.dumps(pad)})
session = onnxruntime.InferenceSession(str(FOLDER / "{file}"))


def embed(texts):
    found = tokenizer.encode_batch([PROMPT + text for text in texts])
    feeds = {{"input_ids": [x.ids for x in found], "attention_mask": [x.attention_mask for x in found],
             "token_type_ids": [x.type_ids for x in found]}}
    wanted = [each.name for each in session.get_inputs()]
    return session.run(["{EMBEDDING}"], {{name: np.array(feeds[name], np.int64) for name in wanted}})[0]


if __name__ == "__main__":
    first, second = embed(["A text.", "Another one."])
    print("cosine", first @ second / np.linalg.norm(first) / np.linalg.norm(second))
'''

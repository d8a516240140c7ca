"""Programs that embed or classify texts with a file, a tokenizer and nothing else of ours: one beside each file, to
start from.
"""

import json
from dataclasses import dataclass

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from spaces.records.runtimes import RUNTIMES, entry
from trainables.models.embedding import embedder_of
from trainables.models.encoder import classes_of
from trainables.models.file_encoder import EMBEDDING, LOGITS


@dataclass(frozen=True)
class Sample:
    """The lines in which programs for two runtimes differ; FILE and OUTPUT are put in."""

    imports: str
    opens: str
    """leaves `model`"""
    inputs: str
    """names of what the model reads"""
    runs: str
    """gives the output for `feeds`"""


WITH_ONNXRUNTIME = Sample(
    imports="import onnxruntime",
    opens='model = onnxruntime.InferenceSession(str(FOLDER / "FILE"))',
    inputs="[each.name for each in model.get_inputs()]",
    runs='model.run(["OUTPUT"], feeds)[0]',
)
WITH_OPENVINO = Sample(
    imports="""sys.modules["openvino_telemetry"] = None  # importing openvino tells Intel so otherwise
import openvino""",
    opens="""# On some processors OpenVINO computes in bfloat16 unless it is told not to.
settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
model = openvino.Core().compile_model(str(FOLDER / "FILE"), "CPU", settings)""",
    inputs="[each.get_any_name() for each in model.inputs]",
    runs='model(feeds)["OUTPUT"]',
)


COSINE = """    first, second = embed(sys.argv[1:3] or ["A text.", "Another one."])
    print("cosine", first @ second / np.linalg.norm(first) / np.linalg.norm(second))"""
CLASSES = """    names, texts = NAMES, sys.argv[1:] or ["A text.", "Another one."]
    for text, scores in zip(texts, score(texts)):
        print(names[scores.argmax()], text)"""


def example(runtime: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, file: str) -> str:
    """A program that embeds two texts with the runtime and tokenizers alone, or classifies them."""
    sample: Sample = entry(RUNTIMES[runtime].sample)
    embedder, pad, engine = embedder_of(model), tokenizer.pad_token or "", RUNTIMES[runtime].engine
    classes = classes_of(model)
    output, what, name = (LOGITS, "Classes", "score") if classes else (EMBEDDING, "Embeddings", "embed")
    runs, opens = (each.replace("OUTPUT", output).replace("FILE", file) for each in (sample.runs, sample.opens))
    shown = CLASSES.replace("NAMES", json.dumps(classes)) if classes else COSINE
    return f'''"""{what} of texts with {engine} and tokenizers alone: pip install {engine} tokenizers numpy"""

import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

{sample.imports}

FOLDER = Path(__file__).parent
PROMPT = {json.dumps(embedder.prompt)}
tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
tokenizer.enable_truncation({embedder.max_length})
tokenizer.enable_padding(pad_id={tokenizer.pad_token_id or 0}, pad_token={json.dumps(pad)})
{opens}


def {name}(texts):
    found = tokenizer.encode_batch([PROMPT + text for text in texts])
    feeds = {{"input_ids": [x.ids for x in found], "attention_mask": [x.attention_mask for x in found],
             "token_type_ids": [x.type_ids for x in found]}}
    feeds = {{name: np.array(feeds[name], np.int64) for name in {sample.inputs}}}
    return {runs}


if __name__ == "__main__":
{shown}
'''

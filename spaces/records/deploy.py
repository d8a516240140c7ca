"""What a student runs as where it is used."""

from dataclasses import dataclass

from spaces.errors import SpecError
from spaces.settings import setting

RUNTIMES = ("torch", "onnx")
FLOAT_PRECISION = "fp32"
FILES = {FLOAT_PRECISION: "model.onnx", "int8": "model_quantized.onnx", "int8-dynamic": "model_quantized.onnx"}
"""By precision, the name that optimum and transformers.js look for."""
PRECISIONS = tuple(FILES)
FOLDER = "onnx"
"""Inside the folder of a student."""


@dataclass(frozen=True)
class DeploySpec:
    """Runtime and precision of the file that is handed over."""

    runtime: str = setting("what runs the student where it is used", "torch", choices=RUNTIMES)
    precision: str = setting("of its weights and maps, under onnx", FLOAT_PRECISION, choices=PRECISIONS)
    tolerance: float = setting(
        "how far the mean cosine of its embeddings to those of the student in torch may be from 1", 0.02, above=0
    )


def check_precision(runtime: str, precision: str) -> None:
    """Raises SpecError for a precision that the runtime has no file for."""
    if runtime == "torch" and precision != FLOAT_PRECISION:
        raise SpecError([f"--precision {precision} is of a file for onnxruntime: add --runtime onnx"])

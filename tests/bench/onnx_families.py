"""Whether the ONNX file of a student of each family gives the numbers of torch: two tiny layers, drawn weights.

    python tests/bench/onnx_families.py [FAMILY ...]       # about ten minutes for all; needs the extra onnx

A line for each family: the largest difference of last hidden states at valid positions over texts of 11 and 23 tokens,
one of three padded on the right or the left; attentions that stand in the file as one operator, of two; CPU seconds of
the export. The first export of a process loads the exporter, about 8 s.
"""

import sys
import tempfile
import time
from pathlib import Path

import onnxruntime
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "trainables"))

from tiny_families import TINY

from trainables.export.graphs import attentions, export_onnx
from trainables.models.encoder import build_model
from trainables.models.families import FAMILIES

SHAPE = (2, 16, 4, 32)
WORDS = 100
CASES = ((11, "right"), (11, "left"), (23, "right"))


def difference(family: str, folder: Path) -> tuple[float, int, float]:
    """(largest difference, attentions in one operator, CPU seconds of the export)."""
    torch.manual_seed(0)
    model = build_model(TINY[family].config(WORDS, SHAPE), lm_head=False).eval()
    start = time.process_time()
    file = export_onnx(model, folder / "model.onnx")
    seconds, session, worst = time.process_time() - start, onnxruntime.InferenceSession(str(file)), 0.0
    for length, side in CASES:
        ids_BT = torch.randint(5, WORDS - 1, (3, length))
        mask_BT = torch.ones_like(ids_BT)
        padded = slice(length - 5, length) if side == "right" else slice(0, 5)
        mask_BT[1, padded], ids_BT[1, padded] = 0, model.config.pad_token_id or 0
        feeds = {"input_ids": ids_BT, "attention_mask": mask_BT, "token_type_ids": torch.zeros_like(ids_BT)}
        read = {each.name: feeds[each.name].numpy() for each in session.get_inputs()}
        with torch.inference_mode():
            ours = model(input_ids=ids_BT, attention_mask=mask_BT).last_hidden_state
        theirs = torch.from_numpy(session.run(["last_hidden_state"], read)[0])
        worst = max(worst, float((ours - theirs)[mask_BT.bool()].abs().max()))
    return worst, attentions(file), seconds


def main() -> None:
    """All families, or those that are named."""
    for family in sys.argv[1:] or FAMILIES:
        try:
            with tempfile.TemporaryDirectory() as folder:
                worst, fused, seconds = difference(family, Path(folder))
        except Exception as error:  # whatever the exporter says of one, the others are tried
            print(f"{family:20} failed: {type(error).__name__}: {error}", flush=True)
            continue
        print(f"{family:20} {worst:.1e} {fused} of 2 {seconds:.1f} s", flush=True)


if __name__ == "__main__":
    main()

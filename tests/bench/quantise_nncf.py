"""NNCF's static int8 of a float file, with and without the SmoothQuant that it has: to be compared with ours.

In an environment of its own (pip install nncf openvino onnx numpy):

python tests/bench/quantise.py MODEL --keep FOLDER --only "--precision int8"
OTHER/bin/python tests/bench/quantise_nncf.py FOLDER
python tests/bench/quantise.py MODEL --others FOLDER/nncf*.onnx
"""

import sys
import time
from pathlib import Path

import nncf
import numpy as np
import onnx
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters, AdvancedSmoothQuantParameters

WAYS = {
    "nncf": AdvancedQuantizationParameters(),
    "nncf_without_smoothing": AdvancedQuantizationParameters(
        smooth_quant_alphas=AdvancedSmoothQuantParameters(matmul=-1, convolution=-1)
    ),
}


def main() -> None:
    """Write a file for each way."""
    folder = Path(sys.argv[1])
    names = (folder / "names.txt").read_text().split()
    calibration = np.load(folder / "calibration.npz")
    feeds = [dict(zip(names, calibration[key], strict=True)) for key in calibration.files]
    for way, advanced in WAYS.items():
        started = time.perf_counter()
        quantised = nncf.quantize(
            onnx.load(folder / "float.onnx"), nncf.Dataset(feeds), model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(feeds), advanced_parameters=advanced,
        )  # fmt: skip
        onnx.save(quantised, folder / f"{way}.onnx")
        print(f"{way}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

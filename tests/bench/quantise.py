"""Ways to int8: how far embeddings move, alone and in a batch, and what size and time they gain.

python tests/bench/quantise.py MODEL --corpus FOLDER [--pairs FILE] [--order]    # about ten minutes for 6x384

MODEL is what a spec names as its teacher. Each way gets the same float file and the same calibration text; texts of the
held-out part are compared. Times are of the thread's own clock, by turns, so that a busy machine moves ratios little.
FILE: pairs with a number (text, text2, label), of which the rank correlation with the cosine is told.
--order: which maps move embeddings most, by the quantiser once for each map and as --precision int8+4 finds it.
--keep FOLDER: the float file and the calibration stay there, which quantisers of other environments take
(quantise_nncf.py); --others: FILES that they wrote, which are compared beside ours.
"""

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pyarrow.parquet as pq
from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_dynamic, quantize_static
from scipy.stats import spearmanr

from trainables.export.artefact import calibration_rows, compare, embed_by_file, feeds_of, parity_rows
from trainables.export.float_maps import most_moving, parts_of
from trainables.export.graphs import export_onnx, sample_inputs
from trainables.export.quantising import (
    BLOCK,
    FLOAT_AFTER,
    IN_FLOAT32,
    QUANTISERS,
    quantise_tables,
    quantiser_of,
    quiet,
    reader_of,
    rounded,
)
from trainables.models.embedding import embedder_of, text_tokens
from trainables.models.file_encoder import EMBEDDING
from trainables.models.teacher import load_teacher
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec

SHAPES = ((1, 32), (1, 128), (8, 128))
ROUNDS = 30
FLOAT = {"DefaultTensorType": 1}
KEPT = (2, 4, 8)
"""Maps in float."""
MAPS = {"op_types_to_quantize": ["MatMul"]}


def dynamic(graph, to, feeds, *, signed=True, **options):
    """onnxruntime's own."""
    weight_type = QuantType.QInt8 if signed else QuantType.QUInt8
    with quiet():
        quantize_dynamic(graph, to, weight_type=weight_type, extra_options=FLOAT, **MAPS, **options)


def static(graph, to, feeds, *, method="MinMax", signed=True, after=FLOAT, kept=lambda graph: [], only=None):
    """onnxruntime's own; `kept`: names of the maps that stay in float; `only`: the one that does not."""
    with quiet():
        quantize_static(
            graph, to, reader_of(feeds), quant_format=QuantFormat.QDQ, per_channel=True, extra_options=after,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            calibrate_method=CalibrationMethod[method], nodes_to_exclude=kept(graph),
            nodes_to_quantize=[only] if only else None, **MAPS,
        )  # fmt: skip


def eight_bits(graph, to, feeds, *, signed):
    """As `--precision int8`, but for the range of the weights."""
    with rounded(graph, to, feeds, 0) as maps:
        static(graph, maps, feeds, after=FLOAT_AFTER, signed=signed)


def four_bits(graph, to, feeds, *, block=BLOCK, level=IN_FLOAT32, symmetric=False):
    """onnxruntime's own, with tables of embeddings as ours."""
    with quiet():
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        found = MatMulNBitsQuantizer(
            onnx.load(graph), bits=4, block_size=block, is_symmetric=symmetric, accuracy_level=level
        )
        found.process()
    onnx.save(found.model.model, to)
    quantise_tables(to, to)


def narrowing(graph):
    """The second feed-forward maps."""
    return [name for name, (wide, narrow) in maps_of(graph).items() if wide > narrow]


def maps_of(graph):
    """The dimensions of each map, by the name of its node, in their order."""
    model = onnx.load(graph)
    dims = {each.name: each.dims for each in model.graph.initializer}
    maps = [node for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in dims]
    return {node.name: dims[node.input[1]] for node in maps}


def alone(graph, to, feeds, name):
    """One map as int8; whatever is beside it reads what was not rounded."""
    static(graph, to, feeds, after=FLOAT_AFTER, only=name)
    model = onnx.load(to)
    made_by = {out: node for node in model.graph.node for out in node.output}
    for node in model.graph.node:
        for place, each in enumerate(node.input):
            back = made_by.get(each)
            if node.name != name and back is not None and back.op_type == "DequantizeLinear":
                node.input[place] = made_by[back.input[0]].input[0]
    onnx.save(model, to)


def moved_alone(graph, feeds) -> dict[str, float]:
    """By the name of a map, how far embeddings move when it alone is int8: the mean squared distance at length 1."""
    rows = [each["input_ids"][0] for each in feeds]
    found, before = {}, embed_by_file(graph, rows, 0, 1)
    with tempfile.TemporaryDirectory() as scratch:
        for name in maps_of(graph):
            alone(graph, Path(scratch) / "one.onnx", feeds, name)
            ends = [before, embed_by_file(Path(scratch) / "one.onnx", rows, 0, 1)]
            one, other = (each / np.linalg.norm(each, axis=-1, keepdims=True) for each in ends)
            found[name] = float(np.square(one - other).sum(-1).mean())
    return found


def tell_order(graph, feeds) -> None:
    """Print the maps that move embeddings most, by the slow way, and their places by the quick one."""
    start = time.process_time()
    slow = moved_alone(graph, feeds)
    slow_s = time.process_time() - start
    with tempfile.TemporaryDirectory() as scratch:
        static(graph, Path(scratch) / "all.onnx", feeds, after=FLOAT_AFTER)
        whole, every = onnx.load(graph), onnx.load(Path(scratch) / "all.onnx")
    start = time.process_time()
    outputs = {node.output[0]: node.name for node in whole.graph.node}
    quick = [outputs[each] for each in most_moving(whole, every, parts_of(whole, every), feeds)]
    quick_s, dims, order = time.process_time() - start, maps_of(graph), list(slow)
    worst = sorted(slow, key=lambda name: -slow[name])
    print("| map | size | squared distance alone | place | quick |\n| --- | --- | --- | --- | --- |")
    for place, name in enumerate(worst[:12]):
        size = " x ".join(map(str, dims[name]))
        print(f"| {order.index(name) + 1} | {size} | {slow[name]:.2e} | {place + 1} | {quick.index(name) + 1} |")
    both = spearmanr([worst.index(name) for name in order], [quick.index(name) for name in order])[0]
    total = {k: sum(slow[name] for name in quick[:k]) / sum(slow[name] for name in worst[:k]) for k in KEPT}
    shares = ", ".join(f"{share:.3f} of the worst {k}" for k, share in total.items())
    print(
        f"\nrank correlation {both:.3f}; the quick way's sum: {shares}; CPU s {slow_s:.1f} and {quick_s:.1f}\n",
        flush=True,
    )


WAYS = {
    "dynamic, per tensor (default)": dynamic,
    "dynamic, per channel": partial(dynamic, per_channel=True),
    "dynamic, per channel, unsigned": partial(dynamic, per_channel=True, signed=False),
    "static, outputs rounded (default)": static,
    "static, second feed-forward in float": partial(static, kept=narrowing),
    "static": partial(static, after=FLOAT_AFTER),
    "static, unsigned": partial(static, after=FLOAT_AFTER, signed=False),
    "static, unsigned, percentile": partial(static, after=FLOAT_AFTER, signed=False, method="Percentile"),
    "static, unsigned, entropy": partial(static, after=FLOAT_AFTER, signed=False, method="Entropy"),
    "static int8, 8 bits, unsigned": partial(eight_bits, signed=False),
    "static int8, 8 bits, signed": partial(eight_bits, signed=True),
    "int4, blocks of 32": partial(four_bits, block=32),
    "int4, blocks of 64": partial(four_bits, block=64),
    "int4, no zero points": partial(four_bits, symmetric=True),
    "int4, products in int8": partial(four_bits, level=4),
    **{
        f"--precision {name}": quantiser_of(name)
        for name in (*QUANTISERS, *(f"int8+{k}" for k in KEPT), *(f"int4-weights+{k}" for k in KEPT))
    },
}


def times_ms(files: dict[str, Path], names, batch: int, length: int) -> dict[str, float]:
    """Median time of a pass on one thread, by turns."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = {name: onnxruntime.InferenceSession(str(file), options) for name, file in files.items()}
    rows = list(np.random.default_rng(0).integers(5, 1000, (batch, length)))
    feeds, found = feeds_of(rows, 0, names), {name: [] for name in files}
    for _ in range(ROUNDS):
        for name, session in sessions.items():
            start = time.thread_time()
            session.run([EMBEDDING], feeds)
            found[name].append(1000 * (time.thread_time() - start))
    return {name: float(np.median(each)) for name, each in found.items()}


def correlation(file: Path, rows, labels, pad_id: int) -> float:
    """Of the cosine of pairs with their labels."""
    found = embed_by_file(file, rows, pad_id, 16)
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    half = len(found) // 2
    return float(spearmanr((found[:half] * found[half:]).sum(-1), labels)[0])


def main() -> None:
    """Print the table, in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--corpus", default="docs")
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--num-pairs", type=int, default=300)
    parser.add_argument("--only", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--order", action="store_true")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--others", nargs="+", type=Path, default=[])
    args = parser.parse_args()
    teacher = load_teacher(args.model)
    model, tokenizer = teacher.model, teacher.tokenizer
    pad_id, names = tokenizer.pad_token_id or 0, list(sample_inputs(model))
    text = CorpusSpec(args.corpus, 64, texts="single", max_tokens=200_000)
    corpus = open_corpus(prepare_corpus(text, tokenizer))
    feeds = [feeds_of([row], pad_id, names) for row in calibration_rows(corpus)]
    pairs = []
    if args.pairs:
        table = pq.read_table(args.pairs).slice(0, args.num_pairs).to_pydict()
        pairs = list(text_tokens(embedder_of(model), tokenizer, [*table["text"], *table["text2"]]))
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.keep or Path(scratch)
        files = {"float": export_onnx(model, folder / "float.onnx")}
        ways = {name: WAYS[name] for name in args.only}
        if args.keep:
            np.savez(folder / "calibration.npz", *(np.stack([each[name] for name in names]) for each in feeds))
            (folder / "names.txt").write_text("\n".join(names))
        if args.order:
            tell_order(files["float"], feeds)
        print("| way | cosine | lowest | alone and in a batch | pairs | MB |\n| --- | --- | --- | --- | --- | --- |")
        files |= {file.stem: file for file in args.others}
        for number, name in enumerate([*files, *ways]):
            if name in ways:
                files[name] = Path(scratch) / f"{number}.onnx"
                ways[name](files["float"], files[name], feeds)
            found = compare(model, files[name], parity_rows(corpus), pad_id)
            told = f"{100 * correlation(files[name], pairs, table['label'], pad_id):.2f}" if pairs else "-"
            print(
                f"| {name} | {found.cosine:.4f} | {found.lowest_cosine:.4f} | {found.batch_difference:.2g} | {told} | "
                f"{files[name].stat().st_size / 1e6:.1f} |", flush=True,
            )  # fmt: skip
        print(f"\n| way | {' | '.join(f'{b} x {t}, ms' for b, t in SHAPES)} |\n{'| --- ' * (1 + len(SHAPES))}|")
        found = [times_ms(files, names, *shape) for shape in SHAPES]
        for name in files:
            cells = [f"{each[name]:.2f} ({each['float'] / each[name]:.2f}x)" for each in found]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()

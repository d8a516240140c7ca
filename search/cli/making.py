"""The commands that make a folder of weights: pretrain and trim a teacher, export a student."""

import argparse
import json

from search.cli.arguments import add_choice, add_folder, add_precision, parse_count, parse_number
from search.cli.seeing import chosen_trial, say
from spaces.errors import SpecError
from spaces.records.runtimes import FILE_RUNTIMES, RUNTIMES


def pretrain(args: argparse.Namespace) -> None:
    """Make a teacher."""
    from pathlib import Path

    from trainables.training.pretrain import PretrainSpec
    from trainables.training.pretrain import pretrain as make_teacher

    names = PretrainSpec.__dataclass_fields__
    spec = PretrainSpec(**{name: value for name, value in vars(args).items() if name in names and value is not None})
    make_teacher(spec, Path(args.work or f"{args.to}.stages"), Path(args.to), say)


def trim(args: argparse.Namespace) -> None:
    """Cut a teacher's vocabulary."""
    from pathlib import Path

    from search.phases.trimming import sources_of_corpora, sources_of_spec, trim_teacher

    if not args.spec and not (args.corpus and args.teacher):
        raise SpecError(
            ["trim to what? Give TEACHER and --corpus SOURCE, or --spec SPEC: its corpus and all its tasks"]
        )
    teacher, sources = sources_of_spec(args.spec, say) if args.spec else ("", {})
    sources |= sources_of_corpora(args.corpus or [], args.text_column, say)
    trim_teacher(args.teacher or teacher, sources, args.pieces, Path(args.to), say)


def export(args: argparse.Namespace) -> None:
    """Write a student folder."""
    if args.runtime in FILE_RUNTIMES and args.config_only:
        raise SpecError(
            [f"--config-only leaves out the weights, which a file of --runtime {args.runtime} holds: drop one of them"]
        )
    trial = chosen_trial(args)
    from search.phases.exporting import export_trial

    changes = {name: getattr(args, name) for name in ("runtime", "precision", "tolerance") if getattr(args, name)}
    written = export_trial(args.folder, trial, args.to, weights=not args.config_only, changes=changes, say=say)
    recipe = json.loads((written / "recipe.json").read_text(encoding="utf-8"))
    scores = recipe["scores_pairs"] or "classes" in recipe  # what is empty is left out
    reader = "AutoModelForSequenceClassification" if scores else "AutoModel"
    say(f"written to {written}; load it with transformers.{reader}.from_pretrained({str(written)!r})")


def add_pretrain(parser: argparse.ArgumentParser) -> None:
    """Arguments of `pretrain`; the defaults are those of PretrainSpec."""
    parser.add_argument("to", metavar="TO", help="folder of the new teacher")
    parser.add_argument("--source", required=True, help="model to start from: folder, hub id, package:module/path")
    parser.add_argument("--corpus", help="docs, or a file or folder of text; default docs")
    parser.add_argument("--vocabulary", type=parse_count, metavar="N", help="word pieces to keep; default 6k")
    parser.add_argument(
        "--learn-vocabulary",
        action="store_true",
        help="learn the pieces from the corpus instead of keeping the source's",
    )
    parser.add_argument(
        "--language-temperature", type=parse_number, metavar="T", help="sample languages, a folder each, such as 3.3"
    )
    parser.add_argument("--shape", help="shape of the new teacher; default 6x192h12")
    parser.add_argument("--first-tokens", type=parse_count, metavar="N", help="masked-LM tokens of the source's shape")
    parser.add_argument("--final-tokens", type=parse_count, metavar="N", help="tokens of the distillation into SHAPE")
    parser.add_argument("--seed", type=int, help="of initialisation, order and masking")
    parser.add_argument(
        "--work", metavar="DIR", help="stages and checkpoints, to go on after a stop; default TO.stages"
    )


def add_trim(parser: argparse.ArgumentParser) -> None:
    """Arguments of `trim`."""
    parser.add_argument(
        "teacher", nargs="?", metavar="TEACHER", help="folder, hub id, package:module/path; default that of the spec"
    )
    parser.add_argument("to", metavar="TO", help="folder of the trimmed teacher; must not exist")
    parser.add_argument("--spec", metavar="SPEC", help="keep what its corpus and all its tasks use")
    parser.add_argument(
        "--corpus", nargs="+", metavar="SOURCE", help="keep what these use: docs, files or folders of text, hub:name"
    )
    parser.add_argument("--text-column", default="text", metavar="NAME", help="the column that holds the text")
    parser.add_argument("--pieces", type=parse_count, metavar="N", help="pieces to keep; default: all that are used")


def add_export(parser: argparse.ArgumentParser) -> None:
    """Arguments of `export`."""
    add_folder(parser)
    parser.add_argument("to", metavar="TO", help="folder to write")
    add_choice(parser)
    parser.add_argument("--config-only", action="store_true", help="config, tokenizer and recipe without weights")
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="onnx, openvino: a file for that runtime as well; default [deploy] of the study",
    )
    add_precision(parser, "of that file", None, "[deploy] of the study, fp32")
    parser.add_argument(
        "--tolerance", type=parse_number, metavar="X",
        help="refuse a file whose embeddings have a mean cosine to the student's below 1 - X; default 0.02",
    )  # fmt: skip

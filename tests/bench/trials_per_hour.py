"""Trials per hour: the way Ray's guide tunes a Train job, every trial with its own teacher, against a stillhouse study.

Both run the same configurations, losses, steps, scoring and number of trials at a time. (a) is the pattern of Ray's
user guide "Hyperparameter Tuning with Ray Tune": a Tune function that builds a TorchTrainer for each trial, whose
worker loads the teacher and runs it in every step. (b) is the study as stillhouse runs it: warm lanes, targets written
once (that time counted). Two teachers: the embedded one, and a 12x768 BERT with random layers over its embeddings.

    python tests/bench/trials_per_hour.py                  # about 20 minutes on two cores
    python tests/bench/trials_per_hour.py --trials 8 --teachers embedded
"""

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path

import small_study
import torch

from trainables.machine import hardware, versions
from trainables.models.encoder import build_model, word_embeddings
from trainables.models.teacher import load_teacher
from trainables.tasks.spec import EvaluationSpec

EMBEDDED = "package:trainables/embedded_teacher"
TOKENS = {"embedded": 30_000, "12x768": 12_000}


def large_teacher(folder: Path) -> str:
    """12x768 with the embedded teacher's vocabulary; its embeddings are the embedded ones beside noise."""
    small = load_teacher(EMBEDDED)
    config = small.model.config
    config.num_hidden_layers, config.hidden_size, config.num_attention_heads, config.intermediate_size = (
        12,
        768,
        12,
        3072,
    )
    torch.manual_seed(0)
    model = build_model(config, lm_head=True)
    with torch.no_grad():
        word_embeddings(model)[:, :192] = word_embeddings(small.model)
    model.save_pretrained(folder)
    small.tokenizer.save_pretrained(folder)
    return str(folder)


def ray_guide(teacher: str, tokens: int, chosen: list[dict]) -> float:
    """(a): seconds for trials of these configurations."""
    import contextlib

    from ray import train, tune
    from ray.train.torch import TorchTrainer

    from search.phases.inputs import read_inputs
    from search.phases.prepare import prepare
    from spaces.telling import quiet
    from trainables.lanes.messages import TrialJob

    trials = len(chosen)
    changes = {"teacher": {"path": teacher}, "budget": {"train_tokens": tokens}, "targets": {"mode": "live"}}
    study = small_study.read_study(changes)
    with small_study.ray_of(3), tempfile.TemporaryDirectory() as scratch, contextlib.ExitStack() as held:
        inputs = read_inputs(study.spec, quiet, quiet)
        prepared = prepare(study, inputs, quiet, held, quiet)
        job = TrialJob(
            trial=0, config={}, seed=0, teacher=teacher, corpus=prepared.corpus, tasks=tuple(prepared.tasks.values()),
            train_tokens=tokens, evaluation=EvaluationSpec(), floors=prepared.scores, training=study.spec.training,
        )  # fmt: skip

        def work(config: dict) -> None:
            import torch as worker_torch

            from trainables.lanes.trial import run_trial

            worker_torch.set_num_threads(1)
            number = config["number"]
            own = dataclasses.replace(
                job, trial=number, config=chosen[number], folder=f"{scratch}/checkpoint{number}",
                student_folder=f"{scratch}/student{number}",
            )  # fmt: skip
            outcome = run_trial(own, lambda report: None)
            train.report({"quality": outcome.scores.quality})

        def driver(config: dict) -> None:
            TorchTrainer(
                work,
                train_loop_config={"number": config["number"]},
                scaling_config=train.ScalingConfig(num_workers=1, resources_per_worker={"CPU": 1}),
                run_config=train.RunConfig(name=f"trial-{config['number']}", storage_path=scratch),
            ).fit()

        started = time.perf_counter()
        tune.Tuner(
            tune.with_resources(driver, {"cpu": 0.5}),
            param_space={"number": tune.grid_search(list(range(trials)))},
            tune_config=tune.TuneConfig(max_concurrent_trials=2),
            run_config=tune.RunConfig(name="guide", storage_path=scratch, verbose=0),
        ).fit()
        elapsed_s = time.perf_counter() - started
        made = len(list(Path(scratch).glob("student*/config.json")))
    if made != trials:
        raise SystemExit(f"only {made} of {trials} trials of the guide's way ended")
    return elapsed_s


def ours(teacher: str, tokens: int, trials: int) -> tuple[float, list[dict]]:
    """(b): seconds from the first look at the targets to the last row, and the configurations."""
    changes: dict = {"teacher": {"path": teacher}, "budget": {"trials": trials, "train_tokens": tokens}}
    marks: dict[str, float] = {}

    def say(line: str) -> None:
        if line.startswith("[5/5]"):
            marks["measured"] = time.perf_counter()
        if line.startswith("teacher targets"):
            marks.setdefault("targets", time.perf_counter())
            print("   ", line, flush=True)
        if line.startswith("done"):
            marks["done"] = time.perf_counter()

    ran = small_study.run_small(changes, say)
    if (finished := (ran.trials.status == "finished").sum()) != trials:
        raise SystemExit(f"{finished} of {trials} trials finished")
    return marks["done"] - marks["measured"], ran.configs[:trials]


def main() -> None:
    """Print trials per hour of both ways and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--teachers", nargs="*", default=["embedded", "12x768"], choices=list(TOKENS))
    options = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.teachers:
            teacher = EMBEDDED if name == "embedded" else large_teacher(Path(folder) / "teacher")
            ours_s, configs = ours(teacher, TOKENS[name], options.trials)
            print(f"{name}: stillhouse {ours_s:.0f} s; now the guide's way", flush=True)
            guide_s = ray_guide(teacher, TOKENS[name], configs)
            print(f"{name}: the guide's way {guide_s:.0f} s", flush=True)
            rates = [3600 * options.trials / s for s in (guide_s, ours_s)]
            lines.append(
                f"| {name}, {TOKENS[name]:,} tokens | {rates[0]:.0f} | {rates[1]:.0f} | {guide_s / ours_s:.1f} |"
            )
    print(
        f"\n{options.trials} trials, 2 at a time; {hardware()}; torch {versions()['torch']}, ray {versions()['ray']}\n"
    )
    print(
        "| teacher, tokens a trial | Ray's guide, trials/h | stillhouse, trials/h | ratio |\n| --- | --- | --- | --- |"
    )
    print("\n".join(lines))


if __name__ == "__main__":
    main()

"""How long a trial waits: from being handed over to its first step, and from one trial's end to the next one's step.

python tests/bench/start_up.py                 # about 3 minutes on two cores
"""

import argparse

import pandas as pd
import small_study

from trainables.machine import hardware, versions


def main() -> None:
    """Run the small study on one lane and print both waits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=12)
    options = parser.parse_args()
    changes = {"budget": {"trials": options.trials}, "cluster": {"concurrent_trials": 1}}
    rows = small_study.run_small(changes, print).trials
    rows = rows[rows.status == "finished"].sort_values("started_at")
    first_step = rows.started_at + rows.start_up_s.map(seconds)
    last_step = first_step + rows.train_s.map(seconds)
    ended = last_step + (rows.evaluate_s + rows.profile_s).map(seconds)
    between = (first_step.shift(-1) - ended).dt.total_seconds().dropna()
    waits = {
        "handed over -> first step, first trial of the lane": rows.start_up_s.iloc[:1],
        "handed over -> first step, the others": rows.start_up_s.iloc[1:],
        "last step -> scored and exported": rows.evaluate_s + rows.profile_s,
        "scored and exported -> next trial's first step": between,
    }
    print(f"\n{len(rows)} trials on one lane; {hardware()}; torch {versions()['torch']}, ray {versions()['ray']}\n")
    print("| wait | median s | largest s |\n| --- | --- | --- |")
    for name, values in waits.items():
        print(f"| {name} | {values.median():.2f} | {values.max():.2f} |")


def seconds(value: float) -> pd.Timedelta:
    """As pandas adds it to a time."""
    return pd.Timedelta(seconds=value)


if __name__ == "__main__":
    main()

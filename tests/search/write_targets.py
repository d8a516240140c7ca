"""A driver, `write_targets.py ADDRESS`, that has the nodes of a cluster write twelve shards of invented targets."""

import sys

import fake_trials
import numpy as np
import toy

from search.phases import writing_targets
from search.phases.teacher_targets import make_target_plan
from search.tune.cluster import join
from trainables.models.signals import TOKENS, State
from trainables.text.corpus import Corpus
from trainables.training import targets

BLOCKS = 12


def main(address):
    """Join, write one block a shard, and say what is said."""
    join(address)
    spec, _ = toy.read()
    corpus = Corpus(np.zeros((BLOCKS, 64), np.uint16), np.zeros((1, 64), np.uint16), 1000, 4, (0,), "c")
    targets.SHARD_BYTES = 1
    needs = targets.Needs((State(2, TOKENS),))
    plan = make_target_plan(spec, needs, toy.facts(), "/corpora/c", corpus, (0,))
    writing_targets.write_shard_there = fake_trials.write_slowly
    plan.folder.mkdir(parents=True)
    writing_targets.build(spec, plan, print)


if __name__ == "__main__":
    main(sys.argv[1])

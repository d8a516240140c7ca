"""The scores of a trial's student: on dev, on test where they are asked for, and in the middle of training."""

from dataclasses import replace

from transformers import PreTrainedModel

from spaces.records.shares import mean_share
from trainables.export.artefact import as_deployed
from trainables.lanes.kept import kept_task
from trainables.lanes.messages import TrialJob
from trainables.models.file_encoder import FileEncoder
from trainables.tasks.scores import Scores, StudentScore
from trainables.tasks.scoring import recovered, score_task, worst_language
from trainables.text.corpus import Corpus


def score(student: PreTrainedModel, job: TrialJob, corpus: Corpus) -> tuple[Scores, dict[str, StudentScore]]:
    """The dev scores, and the test scores of the tasks of which the job has references on the test split.

    They are those of the file that the study hands over, where it does. The student's own quality stands beside them,
    by the probes that were fitted on the file: nothing else differs then, and train is not read again.
    """
    judged = as_deployed(student, job.deploy, corpus)
    scores, tested = score_tasks(judged, job)
    if judged is student:
        return scores, tested
    own, _ = score_tasks(student, replace(job, test_floors={}), judged)
    return replace(scores, torch_quality=own.quality), tested


def score_tasks(
    model: PreTrainedModel | FileEncoder, job: TrialJob, fitted_on: PreTrainedModel | FileEncoder | None = None
) -> tuple[Scores, dict[str, StudentScore]]:
    """`score` of a model as it is, by what was fitted on it or on that file."""
    found: dict[str, dict[str, StudentScore]] = {"dev": {}, "test": {}}
    for folder in job.tasks:
        task = kept_task(folder)
        references = {"dev": job.floors[task.name]}
        if task.name in job.test_floors:
            references["test"] = job.test_floors[task.name]
        for split, each in score_task(model, task, job.evaluation, list(references), job.seed, fitted_on).items():
            share = recovered(each.score, references[split].teacher, references[split].floor)
            found[split][task.name] = StudentScore(each.score, share, each.layer, each.metric, each.protocol)
    shares = {name: each.recovered for name, each in found["dev"].items()}
    worst = worst_language(shares, job.languages, job.weights) if job.languages else (None, None)
    return Scores(mean_share(shares, job.weights), found["dev"], *worst), found["test"]


def score_rung(student: PreTrainedModel, job: TrialJob, corpus: Corpus) -> Scores:
    """The scores in the middle of training, whatever protocol decides at its end."""
    at_rung = replace(job, evaluation=job.evaluation.at_rungs(), floors=job.rung_floors, test_floors={})
    return score_tasks(as_deployed(student, job.deploy, corpus), at_rung)[0]

"""BoTorch's qLogNEHVI behind a pipe, for search_efficiency.py; runs in an environment that has botorch.

A Gaussian process for quality over the encoded space (names one-hot, numbers from 0 to 1) with ARD; the parameters of
a student are known, but stock qLogNEHVI models them too, by a second process. The acquisition is evaluated at every
configuration that has not been asked. JSON lines in, JSON lines out, as moasha_server.py.
"""

import json
import random
import sys
import warnings

import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.fit import fit_gpytorch_mll
from botorch.models import ModelListGP, SingleTaskGP
from botorch.models.transforms import Standardize
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.mlls import SumMarginalLogLikelihood

START = 10
"""Configurations drawn at random before the model is asked: twice the parameters."""
warnings.simplefilter("ignore")
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)


def main() -> None:
    """Serve until the pipe closes."""
    about = json.loads(sys.stdin.readline())
    torch.manual_seed(about["seed"])
    rng = random.Random(about["seed"])
    everything = about["everything"]
    encoded = torch.stack([encode(places, about) for places in everything])
    left = set(range(len(everything)))
    asked: list[int] = []
    found: dict[int, tuple[float, float]] = {}
    answer(True)
    for line in sys.stdin:
        message = json.loads(line)
        if message["do"] == "suggest":
            if len(found) < START or not left:
                number = rng.choice(sorted(left)) if left else rng.randrange(len(everything))
            else:
                number = best(encoded, asked, found, sorted(left), about["seed"])
            left.discard(number)
            asked.append(number)
            answer({"trial": len(asked) - 1, "places": everything[number]})
            continue
        if message["do"] == "complete":
            found[message["trial"]] = (message["quality"], -message["parameters"])
        answer(True)


def encode(places: list[int], about: dict) -> torch.Tensor:
    """Names one-hot, numbers from 0 to 1."""
    row: list[float] = []
    for (name, size), place in zip(about["axes"].items(), places, strict=True):
        row += [float(i == place) for i in range(size)] if name in about["names"] else [place / max(1, size - 1)]
    return torch.tensor(row)


def best(
    encoded: torch.Tensor, asked: list[int], found: dict[int, tuple[float, float]], left: list[int], seed: int
) -> int:
    """The configuration of the largest acquisition, those that run being pending."""
    trials = sorted(found)
    inputs = encoded[[asked[trial] for trial in trials]]
    values = torch.tensor([found[trial] for trial in trials])
    model = ModelListGP(
        *(SingleTaskGP(inputs, values[:, [k]], outcome_transform=Standardize(1)) for k in range(values.shape[1]))
    )
    fit_gpytorch_mll(SumMarginalLogLikelihood(model.likelihood, model))
    pending = [asked[trial] for trial in range(len(asked)) if trial not in found]
    acquisition = qLogNoisyExpectedHypervolumeImprovement(
        model, ref_point=[0.0, -1.0], X_baseline=inputs, prune_baseline=True,
        sampler=SobolQMCNormalSampler(torch.Size([64]), seed=seed), X_pending=encoded[pending] if pending else None,
    )  # fmt: skip
    with torch.no_grad():
        scores = torch.cat([acquisition(part.unsqueeze(1)) for part in encoded[left].split(64)])
    return left[int(scores.argmax())]


def answer(value: object) -> None:
    """One line."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

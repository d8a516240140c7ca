"""Linear models of features: scaled, fitted, and kept as plain arrays.

A fit is kept in the cache under what it was made of, so that who has scored an encoder on dev need not read train
again for its test score.

Shapes: N examples, F features, C outputs: one for numbers and for two classes, else one for each class.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import logsumexp
from transformers import PreTrainedModel

from spaces.errors import StillhouseError
from trainables.cache import cache_folder, digest, new_folder
from trainables.machine import versions
from trainables.models.file_encoder import FileEncoder
from trainables.tasks.data import Split
from trainables.tasks.protocols import solvers
from trainables.tasks.protocols.heads import Head

UNTOLD = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "_attn_implementation"}
"""Of a model's config, what changes between a model and the same one read from its folder."""


@dataclass(frozen=True)
class Fit:
    """A fitted linear model with the scaling of its features, at the layer that they come from."""

    mean_F: np.ndarray
    scale_F: np.ndarray
    weights_FC: np.ndarray
    bias_C: np.ndarray
    classes: np.ndarray
    """The ids of the classes; none where numbers are predicted."""
    converged: bool
    layer: int = 0

    def outputs(self, x_NF: np.ndarray) -> np.ndarray:
        """NC, float32: numbers, or logits (of two classes that of the second)."""
        outputs_NC: np.ndarray = (x_NF - self.mean_F) / self.scale_F @ self.weights_FC + self.bias_C
        return outputs_NC

    def predict(self, x_NF: np.ndarray) -> np.ndarray:
        """Class ids or real numbers."""
        outputs_NC = self.outputs(x_NF)
        if not len(self.classes):
            return outputs_NC[:, 0]
        return self.classes[outputs_NC.argmax(1) if outputs_NC.shape[1] > 1 else (outputs_NC[:, 0] > 0).astype(int)]

    def losses(self, x_NF: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
        """Cross entropy or half the squared error of each row, N; 0 for a class that the fit has never seen."""
        outputs_NC = self.outputs(x_NF)
        if not len(self.classes):
            return (outputs_NC[:, 0] - labels_N) ** 2 / 2
        if outputs_NC.shape[1] == 1:
            outputs_NC = np.concatenate([np.zeros_like(outputs_NC), outputs_NC], axis=1)
        target_N = np.searchsorted(self.classes, labels_N).clip(max=len(self.classes) - 1)
        losses_N = logsumexp(outputs_NC, axis=1) - outputs_NC[np.arange(len(labels_N)), target_N]
        return np.where(self.classes[target_N] == labels_N, losses_N, 0.0)


def fit_linear(head: Head, x_NF: np.ndarray, labels_N: np.ndarray, strength: float) -> Fit:
    """The linear layer of the head, on features standardised by their own statistics.

    Running out of iterations is noted in the result: a fit so far along ranks layers as well.
    """
    mean_F, scale_F = x_NF.mean(0), x_NF.std(0)
    scale_F[scale_F < 1e-8] = 1.0
    layer = head.linear((x_NF - mean_F) / scale_F, labels_N, strength)
    return Fit(mean_F, scale_F, layer.weights_FC, layer.bias_C, layer.classes, layer.converged)


def kept_fit(made_of: str, compute: Callable[[], Fit]) -> Fit:
    """The fit of this digest, computed when the cache has none."""
    folder = cache_folder() / "fits" / made_of
    if folder.is_dir():
        with np.load(folder / "fit.npz") as kept:
            return Fit(**{key: kept[key] if kept[key].ndim else kept[key].item() for key in kept.files})
    fit = compute()
    with suppress(OSError, StillhouseError), new_folder(folder) as unfinished:  # without a cache it is made again
        np.savez(unfinished / "fit.npz", **dataclasses.asdict(fit))
    return fit


def digest_of_fit(model: PreTrainedModel | FileEncoder, train: Split, *terms: object) -> str:
    """Everything that decides what is fitted: the encoder, what is read of train, the terms, the packages."""
    arrays = [train.labels, *(train.views[name] for name in sorted(train.views))]
    told = [np.ascontiguousarray(each).tobytes() for array in arrays for each in (array.values, array.offsets)]
    setting = (solvers.MAX_ITERATIONS, solvers.TOLERANCE, json.dumps(versions(), sort_keys=True))
    return digest("fit", 1, encoder_digest(model), *sorted(train.views), *told, *setting, *terms)


def encoder_digest(model: PreTrainedModel | FileEncoder) -> str:
    """Of weights and config, whatever head the encoder has; of a file, its own."""
    if isinstance(model, FileEncoder):
        return model.digest
    hasher = hashlib.sha256()
    config = {key: value for key, value in model.config.to_dict().items() if key not in UNTOLD}
    hasher.update(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(model.base_model.state_dict().items()):
        hasher.update(name.encode())
        hasher.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return hasher.hexdigest()

"""Scored as embeddings are used: cosines of embeddings. Nothing is fitted, so that `train` has no say.

Shapes: N texts or pairs, Q queries, K ranked documents, D width.
"""

from collections.abc import Callable

import numpy as np
from transformers import PreTrainedModel

from trainables.models.embedding import embed_tokens
from trainables.tasks.data import TaskData
from trainables.tasks.documents import DOCUMENTS
from trainables.tasks.kind import Predictions, Terms
from trainables.tasks.protocols.nearest import nearest_documents
from trainables.tasks.ranking import DEPTH
from trainables.text.ragged import Ragged

Predict = Callable[[str], Predictions]


def embedded(model: PreTrainedModel, task: TaskData, texts: Ragged) -> np.ndarray:
    """Embeddings of length 1, ND float32. A text that is there twice is read once."""
    numbers: dict[bytes, int] = {}
    places_N = np.array([numbers.setdefault(text.tobytes(), len(numbers)) for text in texts])
    first = np.unique(places_N, return_index=True)[1]
    found_ND = embed_tokens(model, texts.take(first), task.pad_id)
    return (found_ND / np.maximum(np.linalg.norm(found_ND, axis=-1, keepdims=True), 1e-12))[places_N]


def cosines(model: PreTrainedModel, task: TaskData, terms: Terms) -> Predict:
    """The cosine of each pair."""

    def predict(split: str) -> Predictions:
        u_ND, v_ND = (embedded(model, task, task.splits[split].views[view]) for view in ("text", "text2"))
        return Predictions((u_ND * v_ND).sum(-1))

    return predict


def search(model: PreTrainedModel, task: TaskData, terms: Terms) -> Predict:
    """The documents nearest to each query, QK."""
    documents_ND = embedded(model, task, task.splits[DOCUMENTS].views["text"])

    def predict(split: str) -> Predictions:
        queries_QD = embedded(model, task, task.splits[split].views["text"])
        return Predictions(nearest_documents(queries_QD, documents_ND, DEPTH, model.device))

    return predict


def candidates(model: PreTrainedModel, task: TaskData, terms: Terms) -> Predict:
    """The cosine of each query with each of its candidates."""

    def predict(split: str) -> Predictions:
        labels = task.splits[split].labels
        queries_QD = embedded(model, task, task.splits[split].views["text"])
        named, places_N = np.unique(labels.values["document"], return_inverse=True)
        documents_ND = embedded(model, task, task.splits[DOCUMENTS].views["text"].take(named))
        return Predictions((np.repeat(queries_QD, labels.lengths(), axis=0) * documents_ND[places_N]).sum(-1))

    return predict


def clusters(model: PreTrainedModel, task: TaskData, terms: Terms) -> Predict:
    """The cluster of each text: k-means with as many clusters as classes, the best of ten starts drawn by the seed."""
    from sklearn.cluster import KMeans

    def predict(split: str) -> Predictions:
        texts_ND = embedded(model, task, task.splits[split].views["text"])
        count = len(np.unique(task.splits[split].labels.values))
        return Predictions(KMeans(count, n_init=10, random_state=terms.seed).fit_predict(texts_ND))

    return predict

"""Scored as models are used: cosines of embeddings, scores of cross-encoders. Nothing is fitted: `train` has no say.

Shapes: N texts or pairs, Q queries, K ranked documents, D width.
"""

from collections.abc import Callable

import numpy as np
from transformers import PreTrainedModel

from spaces.errors import SpecError
from trainables.models.embedding import embed_tokens
from trainables.models.encoder import scores_pairs
from trainables.models.pair_scores import score_tokens
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


def documents(model: PreTrainedModel, task: TaskData, places: np.ndarray | None = None) -> np.ndarray:
    """Embeddings of the documents at these places, or of all: the model's own, or those of the task's index."""
    if task.index_NE is not None:
        return np.asarray(task.index_NE if places is None else task.index_NE[places])
    texts = task.splits[DOCUMENTS].views["text"]
    return embedded(model, task, texts if places is None else texts.take(places))


def same_width(task: TaskData, queries_QD: np.ndarray, documents_ND: np.ndarray) -> np.ndarray:
    """The documents. Raises SpecError where queries cannot be compared with them."""
    if queries_QD.shape[1] != documents_ND.shape[1]:
        rule = "must be as wide as those of the documents"
        widths = f"{documents_ND.shape[1]}, which the teacher embedded; they have {queries_QD.shape[1]}"
        raise SpecError([f"task {task.name!r}: embeddings of queries {rule}, {widths}"])
    return documents_ND


def of_pairs(model: PreTrainedModel, task: TaskData) -> Predict:
    """The score of each pair by a cross-encoder."""
    return lambda split: Predictions(score_tokens(model, task.splits[split].views["pair"], task.pad_id))


def cosines(model: PreTrainedModel, task: TaskData, terms: Terms) -> Predict:
    """The cosine of each pair; by a cross-encoder its score."""
    if scores_pairs(model):
        return of_pairs(model, task)

    def predict(split: str) -> Predictions:
        u_ND, v_ND = (embedded(model, task, task.splits[split].views[view]) for view in ("text", "text2"))
        return Predictions((u_ND * v_ND).sum(-1))

    return predict


def search(model: PreTrainedModel, task: TaskData, terms: Terms) -> Predict:
    """The documents nearest to each query, QK."""
    documents_ND = documents(model, task)

    def predict(split: str) -> Predictions:
        queries_QD = embedded(model, task, task.splits[split].views["text"])
        found = same_width(task, queries_QD, documents_ND)
        return Predictions(nearest_documents(queries_QD, found, DEPTH, model.device))

    return predict


def candidates(model: PreTrainedModel, task: TaskData, terms: Terms) -> Predict:
    """The cosine of each query with each of its candidates; by a cross-encoder the score of the two."""
    if scores_pairs(model):
        return of_pairs(model, task)

    def predict(split: str) -> Predictions:
        labels = task.splits[split].labels
        queries_QD = embedded(model, task, task.splits[split].views["text"])
        named, places_N = np.unique(labels.values["document"], return_inverse=True)
        documents_ND = same_width(task, queries_QD, documents(model, task, named))
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

"""One of several classes for each pair of texts, such as whether the first implies the second."""

from functools import partial

from trainables.tasks.kind import TaskKind
from trainables.tasks.metrics import METRICS
from trainables.tasks.protocols.features import pair_features
from trainables.tasks.protocols.finetune import finetune
from trainables.tasks.protocols.heads import CLASSES
from trainables.tasks.protocols.probe import probe
from trainables.tasks.reading.encoding import encode_texts
from trainables.tasks.reading.rows import class_ids, read_rows
from trainables.tasks.reading.tables import Column
from trainables.tasks.sampling import by_class

KIND = TaskKind(
    doc="a class for each pair of texts",
    columns={"text": Column("text"), "text2": Column("text2"), "label": Column("label")},
    read=partial(read_rows, read_labels=class_ids),
    encode=encode_texts,
    strata=by_class,
    metrics=(METRICS["accuracy"], METRICS["f1"], METRICS["matthews"]),
    protocols={
        "probe": partial(probe, features=pair_features, head=CLASSES),
        "finetune": partial(finetune, head=CLASSES),
    },
)

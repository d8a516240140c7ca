"""One of several classes for each text."""

from functools import partial

from trainables.tasks.kind import Protocol, TaskKind
from trainables.tasks.metrics import OF_CLASSES
from trainables.tasks.protocols.classifier import own_classes
from trainables.tasks.protocols.features import text_features
from trainables.tasks.protocols.finetune import finetune
from trainables.tasks.protocols.heads import CLASSES
from trainables.tasks.protocols.probe import probe
from trainables.tasks.reading.encoding import encode_texts
from trainables.tasks.reading.rows import class_ids, read_rows
from trainables.tasks.reading.tables import Column
from trainables.tasks.sampling import by_class

KIND = TaskKind(
    doc="a class for each text",
    columns={"text": Column("text"), "label": Column("label")},
    read=partial(read_rows, read_labels=class_ids),
    encode=encode_texts,
    strata=by_class,
    protocols={
        "probe": Protocol(partial(probe, features=text_features, head=CLASSES), OF_CLASSES),
        "classifier": Protocol(own_classes, OF_CLASSES),
        "finetune": Protocol(partial(finetune, head=CLASSES), OF_CLASSES),
    },
)

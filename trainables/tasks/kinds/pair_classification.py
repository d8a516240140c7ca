"""One of several classes for each pair of texts, such as whether the first implies the second."""

from functools import partial

from trainables.tasks.kind import Protocol, TaskKind
from trainables.tasks.metrics import OF_CLASSES
from trainables.tasks.protocols.features import pair_features
from trainables.tasks.protocols.finetune import finetune
from trainables.tasks.protocols.heads import CLASSES
from trainables.tasks.protocols.probe import probe
from trainables.tasks.protocols.zero_shot import cosines
from trainables.tasks.ranking import OF_PAIRS
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
    of_pairs=True,
    protocols={
        "probe": Protocol(partial(probe, features=pair_features, head=CLASSES), OF_CLASSES),
        "zero_shot": Protocol(cosines, OF_PAIRS),
        "finetune": Protocol(partial(finetune, head=CLASSES), OF_CLASSES),
    },
)

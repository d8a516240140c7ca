"""A number for each text, or for each pair of texts."""

from functools import partial

from trainables.tasks.kind import Protocol, TaskKind
from trainables.tasks.metrics import METRICS
from trainables.tasks.protocols.features import likeness_features
from trainables.tasks.protocols.finetune import finetune
from trainables.tasks.protocols.heads import NUMBERS
from trainables.tasks.protocols.probe import probe
from trainables.tasks.reading.encoding import encode_texts
from trainables.tasks.reading.rows import read_rows, targets
from trainables.tasks.reading.tables import Column
from trainables.tasks.sampling import by_tenth

KIND = TaskKind(
    doc="a number for each text or pair of texts",
    columns={"text": Column("text"), "text2": Column("text2", required=False), "label": Column("label")},
    read=partial(read_rows, read_labels=targets),
    encode=encode_texts,
    strata=by_tenth,
    hub_task="text-regression",
    protocols={
        "probe": Protocol(partial(probe, features=likeness_features, head=NUMBERS), (METRICS["spearman"],)),
        "finetune": Protocol(partial(finetune, head=NUMBERS), (METRICS["spearman"],)),
    },
)

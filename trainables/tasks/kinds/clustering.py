"""Whether texts of one class lie together: k-means over their embeddings, against the classes. Nothing is fitted."""

from functools import partial

from trainables.tasks.kind import Protocol, TaskKind
from trainables.tasks.metrics import METRICS
from trainables.tasks.protocols.zero_shot import clusters
from trainables.tasks.reading.encoding import encode_texts
from trainables.tasks.reading.rows import class_ids, read_rows
from trainables.tasks.reading.tables import Column
from trainables.tasks.sampling import by_class

KIND = TaskKind(
    doc="whether texts of one class lie together, by k-means over their embeddings",
    columns={"text": Column("text"), "label": Column("label")},
    read=partial(read_rows, read_labels=class_ids, needed=()),
    encode=encode_texts,
    strata=by_class,
    protocols={"zero_shot": Protocol(clusters, (METRICS["v_measure"],))},
    fits=False,
    hub_task="feature-extraction",
)

"""Which output of a classifier is which class of labelled texts."""

from collections.abc import Sequence

from spaces.errors import SpecError

UNNAMED = "LABEL_"
"""How transformers calls the classes of a model that names none: with their numbers behind."""


def class_places(where: str, classes: Sequence[str], label_names: Sequence[str]) -> list[int]:
    """The output of a model for each class that labels name: by name, whatever its case, or where labels are numbers by
    these.

    where: what a message begins with. Raises SpecError where some class is none of the model's, or names say nothing.
    """
    known = {name.lower(): place for place, name in enumerate(classes)}
    if all(name.lower() in known for name in label_names):
        return [known[name.lower()] for name in label_names]
    if all(name.isdecimal() and int(name) < len(classes) for name in label_names):
        return [int(name) for name in label_names]
    told = f"{listed(label_names)}, and the teacher has {listed(classes) or 'no classification head'}"
    if classes and all(name.startswith(UNNAMED) for name in classes):
        told += '; write what they mean into its config.json, under "id2label" and "label2id"'
    raise SpecError([f"{where} its classes must be those of the teacher: {told}"])


def listed(names: Sequence[str], most: int = 8) -> str:
    """Names as a person reads them."""
    return ", ".join(map(repr, names[:most])) + f" and {len(names) - most} more" * (len(names) > most)

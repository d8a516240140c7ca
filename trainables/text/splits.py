"""What the parts of a data set are called, in file names, folders and data sets of the hub: one list for all."""

SPLIT_WORDS = {
    "train": ("train", "training"),
    "dev": ("dev", "validation", "valid", "val", "eval", "development"),
    "test": ("test", "testing"),
}


def split_of(name: str) -> str | None:
    """train, dev or test, if the name is a usual one for it; `validation_matched` (MNLI) is dev, the other is none."""
    word = name.lower().removesuffix("_matched")
    return next((split for split, words in SPLIT_WORDS.items() if word in words), None)

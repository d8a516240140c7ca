"""What of a corpus is held out where no file of it is: texts spread over all of it, or the end of a long one."""

import re
from collections.abc import Sequence

HELD_OUT_EVERY = 50
"""One text in so many is held out; more of a small corpus."""
CHARACTERS_PER_TOKEN = 8
"""At the most, of ordinary text: so that what is held out fills a block."""
NEAR = 1000
"""A text is cut at white space, if there is some within so many characters."""


def hold_out(texts: Sequence[str], at_least: int) -> tuple[list[str], list[str]]:
    """(texts to train on, texts held out, sorted): one text in fifty, and never a text that also trains.

    at_least: characters to hold out, as long as that is not more than half. Of a long text only the end is held out,
    and the rest trains: of one document its last fiftieth.
    """
    total = sum(map(len, texts))
    every = min(HELD_OUT_EVERY, max(2, total // max(1, at_least)))
    limit = max(1, total // every)
    by_length = sorted(range(len(texts)), key=lambda i: (-len(texts[i]), -i))
    chosen = list(range(every // 2, len(texts), every)) if len(texts) >= every else by_length[:1]
    enough = min(at_least, total // 2)
    for i in by_length:
        if sum(min(len(texts[each]), limit) for each in chosen) >= enough:
            break
        if i not in chosen:
            chosen.append(i)
    cuts = {i: cut_place(texts[i], len(texts[i]) - limit) for i in chosen}
    held_out = {texts[i][place:].strip() for i, place in cuts.items()}
    gone = held_out | {texts[i] for i in chosen}
    train = []
    for i, text in enumerate(texts):
        if cuts.get(i):
            train.append(text[: cuts[i]].rstrip())
        elif text not in gone:
            train.append(text)
    return train, sorted(held_out)


def cut_place(text: str, place: int) -> int:
    """Where a text is cut in two, at this place or at the first white space before it; 0: not at all."""
    if place <= 0:
        return 0
    start = max(0, place - NEAR)
    spaces = [found.start() for found in re.finditer(r"\s", text[start:place])]
    return start + spaces[-1] if spaces else (0 if place <= NEAR else place)

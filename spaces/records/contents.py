"""What a study is made of, known by content: files of the teacher, of the corpus and of a start, rows of tasks.

study.json keeps one digest for each content, contents.json beside it the digests of all its files and rows, so that
what changed can be named and counted. Paths are no part of it: the same content elsewhere is the same study.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DIGITS = 12
"""Hex digits of the digest of a file or row."""


@dataclass(frozen=True)
class Part:
    """A part of a content: files by their names, or rows by their order."""

    digests: tuple[str, ...]
    """DIGITS hex digits each"""
    names: tuple[str, ...] | None = None
    """of files; None for rows"""
    grows: bool = False
    """Whether more at its end changes nothing: trials of a study that others learn from."""


Content = Mapping[str, Part]
"""By the name of the part: a split, or "files"."""


def files_part(files: Mapping[str, str]) -> Part:
    """Of files by their names inside the content, in any order."""
    return Part(tuple(files[name][:DIGITS] for name in sorted(files)), tuple(sorted(files)))


def digest_of(content: Content) -> str:
    """16 hex digits over all of a content."""
    hasher = hashlib.sha256()
    for name, part in sorted(content.items()):
        for text in (name, *(part.names or ()), *part.digests):
            hasher.update(text.encode() + b"\x00")
    return hasher.hexdigest()[:16]


def changes(what: str, before: Content, now: Content) -> list[str]:
    """Every part that differs, as lines for a person: how many files or rows, and the first file."""
    found = []
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if old is None or new is None:
            found.append(f"{what}: {name} was {'there' if new is None else 'not there'}")
        elif old.names is not None or new.names is not None:
            found += _changed_files(what, old, new)
        elif not (new.grows and new.digests[: len(old.digests)] == old.digests) and old.digests != new.digests:
            found.append(f"{what}: {_changed_rows(name, old.digests, new.digests)}")
    return found


def _changed_files(what: str, old: Part, new: Part) -> list[str]:
    before = dict(zip(old.names or (), old.digests, strict=True))
    now = dict(zip(new.names or (), new.digests, strict=True))
    sorts = {
        "changed": [name for name in now if name in before and now[name] != before[name]],
        "new": sorted(now.keys() - before.keys()),
        "gone": sorted(before.keys() - now.keys()),
    }
    return [
        f"{what}: {names[0]} is {word}" if len(names) == 1
        else f"{what}: {len(names)} of {len(before)} files are {word}, the first is {names[0]}"
        for word, names in sorts.items() if names
    ]  # fmt: skip


def _changed_rows(name: str, old: Sequence[str], new: Sequence[str]) -> str:
    gone, come = Counter(old) - Counter(new), Counter(new) - Counter(old)
    if not gone and not come:
        return f"the {len(new):,} rows of {name} stand in another order"
    changed = f"{max(gone.total(), come.total()):,} of {len(old):,} rows of {name} differ"
    return changed if len(old) == len(new) else f"{changed}, {len(new):,} are there now"


def to_json(contents: Mapping[str, Content]) -> str:
    """The text of contents.json."""
    table = {
        what: {name: {"digests": "".join(part.digests), "names": part.names, "grows": part.grows}
               for name, part in content.items()}
        for what, content in contents.items()
    }  # fmt: skip
    return json.dumps(table) + "\n"


def from_json(text: str) -> dict[str, Content]:
    """Read the text of contents.json. Raises ValueError, KeyError or TypeError for a damaged one."""

    def part(table: Mapping) -> Part:
        digests = table["digests"]
        each = tuple(digests[start : start + DIGITS] for start in range(0, len(digests), DIGITS))
        return Part(each, None if table["names"] is None else tuple(table["names"]), table["grows"])

    return {what: {name: part(table) for name, table in content.items()} for what, content in json.loads(text).items()}

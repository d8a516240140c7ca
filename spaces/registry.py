"""A registry: what comes with stillhouse, as a plain dict, and what installed packages add through entry points.

An entry may be given as "module:attribute" and is then imported when it is first asked for, so that a list of names
costs nothing and heavy packages stay out of commands that do not need them.
"""

import importlib
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar, cast

from spaces.errors import StillhouseError

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Names to entries of one type: our own in their order, then those of other packages by name.

    kind: the type that every entry has; its name stands in errors.
    group: the entry-point group that other packages use, such as "stillhouse.methods".
    own: name -> the entry, or "module:attribute" where it is found.
    """

    def __init__(self, kind: type[T], group: str, own: Mapping[str, T | str]) -> None:
        self.kind, self.group = kind, group
        self._places: dict[str, T | str | EntryPoint] = dict(own)
        for point in sorted(entry_points(group=group), key=lambda point: point.name):
            known = self._places.get(point.name, point)
            if not isinstance(known, EntryPoint) or known.value != point.value:
                raise StillhouseError(
                    f"{point.value} registers {point.name!r} in {group}, but that name is taken; choose another name"
                )
            self._places[point.name] = point
        self._loaded: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        """Load an entry; KeyError for an unknown name. Raises StillhouseError when another package's is unusable."""
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def _load(self, name: str) -> T:
        place = self._places[name]
        if isinstance(place, str):
            module, _, attribute = place.partition(":")
            return cast(T, getattr(importlib.import_module(module), attribute))
        if not isinstance(place, EntryPoint):
            return place
        try:
            found = place.load()
        except (ImportError, AttributeError) as error:
            raise StillhouseError(f"{name!r} of {self.group} cannot be loaded from {place.value}: {error}") from error
        if not isinstance(found, self.kind):
            rule = f"must be of type {self.kind.__name__}, got {type(found).__name__}"
            raise StillhouseError(f"{name!r} of {self.group} {rule} ({place.value})")
        return found

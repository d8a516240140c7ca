"""The package of docs/extending.md, installed into a folder: its files, and the metadata that an installer writes."""

import re
import tomllib
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"
FILE = re.compile(r"^`([\w./]+)`:\n\n```(?:python|toml)\n(.*?)^```", re.MULTILINE | re.DOTALL)
FILES: dict[str, str] = dict(FILE.findall(PAGE.read_text(encoding="utf-8")))
ENTRIES: dict[str, dict[str, str]] = tomllib.loads(FILES["pyproject.toml"])["project"]["entry-points"]
"""Group -> name -> place of each entry that the package adds."""


def install(folder: Path) -> None:
    """Write it where a PYTHONPATH finds it."""
    for name, text in FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "stillhouse_extra" / "__init__.py").touch()
    info = folder / "stillhouse_extra-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stillhouse-extra\nVersion: 1.0\n")
    lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in ENTRIES.items()]
    (info / "entry_points.txt").write_text("\n".join(lines))

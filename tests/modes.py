"""The modes of files and folders against the umask."""

import stat
from pathlib import Path


def wrong_modes(folder: Path, umask: int) -> dict[str, str]:
    """Paths below the folder, with their mode, that are not as a process with this umask makes them."""
    modes = {True: 0o777 & ~umask, False: 0o666 & ~umask}
    found = {path: stat.S_IMODE(path.stat().st_mode) for path in sorted(folder.rglob("*"))}
    assert found
    return {str(path.relative_to(folder)): oct(mode) for path, mode in found.items() if mode != modes[path.is_dir()]}

"""What a spec may say: every section and key, as commented TOML for people."""

import dataclasses

from search.spec.reading import default_of, show
from search.spec.sections import SECTIONS
from trainables.tasks.spec import TaskSpec


def explain() -> str:
    """Every section and key with its default and meaning, as commented TOML."""
    lines = ['name = "..."   # default: the file name', "seed = 0       # of the sampler and of every trial"]
    for title, section in {**SECTIONS, "tasks": TaskSpec}.items():
        lines += ["", f"[[{title}]]" if title == "tasks" else f"[{title}]"]
        for field in dataclasses.fields(section):
            default = default_of(field)
            shown = "(required)" if default is dataclasses.MISSING else "(unset)" if default is None else show(default)
            choices = field.metadata.get("choices")
            tail = f"; one of {', '.join(choices)}" if choices else ""
            lines.append(f"{field.name} = {shown}".ljust(36) + f"# {field.metadata['doc']}{tail}")
    return "\n".join(lines) + "\n"

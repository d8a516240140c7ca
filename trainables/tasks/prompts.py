"""Prompts before the texts of tasks that are scored by embeddings, such as "query: " and "passage: ".

Which prompt a text gets is what sentence-transformers does: `encode_query` takes the prompt called query,
`encode_document` that called document, passage or corpus, and both the default prompt where there is none of that name.
"""

from collections.abc import Mapping

from trainables.models.embedding import Embedder
from trainables.tasks.data import Rows
from trainables.tasks.documents import DOCUMENTS

OF_QUERIES = ("query",)
OF_DOCUMENTS = ("document", "passage", "corpus")


def prompts_by_part(rows: Mapping[str, Rows], embedder: Embedder) -> dict[str, str]:
    """The prompt of each part of a task, "" for none."""
    if DOCUMENTS not in rows:
        return dict.fromkeys(rows, embedder.prompt)
    return {part: first_prompt(embedder, OF_DOCUMENTS if part == DOCUMENTS else OF_QUERIES) for part in rows}


def first_prompt(embedder: Embedder, names: tuple[str, ...]) -> str:
    """The first of some prompts that the teacher has, else its default one."""
    return next((embedder.prompts[name] for name in names if name in embedder.prompts), embedder.prompt)


def prompt_lines(task: str, prompts: Mapping[str, str]) -> list[str]:
    """A line for people where texts stand after a prompt."""
    shown = ", ".join(f"{part} after {prompt!r}" for part, prompt in prompts.items() if prompt)
    return [f"task {task}: {shown}"] if shown else []


def prompted(rows: Mapping[str, Rows], prompts: Mapping[str, str]) -> dict[str, Rows]:
    """The rows with the prompts of their parts before every text."""
    return {
        part: Rows({role: [prompts[part] + text for text in texts] for role, texts in each.inputs.items()}, each.labels)
        if prompts[part]
        else each
        for part, each in rows.items()
    }

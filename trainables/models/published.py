"""What a teacher's own card says of it, for the cards of its students: where it is published, licence, languages."""

import json
from pathlib import Path
from typing import Any

from trainables.models.teacher import resolve_model_folder


def published(path: str) -> dict[str, Any]:
    """hub_id, license and languages of a teacher by its path in a spec; what its card does not say is None or empty.

    The hub_id of a folder is that of the model which its card names as the one it was made from. A licence that the
    card describes elsewhere ('other') is told as it stands.
    """
    import yaml
    from huggingface_hub import ModelCard

    try:
        said = ModelCard.load(resolve_model_folder(path) / "README.md", ignore_metadata_errors=True).data.to_dict()
    except (OSError, ValueError, yaml.YAMLError):  # no card, or none that can be read
        said = {}
    languages, license_name, base = said.get("language"), said.get("license"), said.get("base_model")
    local = path.startswith("package:") or Path(path).expanduser().is_dir()
    languages = [languages] if isinstance(languages, str) else languages if isinstance(languages, list) else []
    return {
        "hub_id": (base if isinstance(base, str) else None) if local else path,
        "license": license_name if isinstance(license_name, str) else None,
        "languages": tuple(map(str, languages)),
    }


def card_of_derived(path: str, text: str) -> str:
    """README.md of a model that is made from another: what is known of that one, for whoever has the new one alone.

    Values are written as JSON, which YAML reads and which no text can break out of.
    """
    known = published(path)
    values = {"base_model": known["hub_id"], "license": known["license"], "language": list(known["languages"])}
    lines = [f"{key}: {json.dumps(value)}" for key, value in values.items() if value]
    return "\n".join([*(["---", *lines, "---", ""] if lines else []), text, ""])

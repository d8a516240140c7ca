"""What a teacher's own card says of it, for the cards of its students: where it is published, licence, languages."""

from pathlib import Path
from typing import Any

from trainables.models.teacher import resolve_model_folder


def published(path: str) -> dict[str, Any]:
    """hub_id, license and languages of a teacher by its path in a spec; what its card does not say is None or empty.

    A licence that the card describes elsewhere ('other') is told as it stands.
    """
    import yaml
    from huggingface_hub import ModelCard

    try:
        said = ModelCard.load(resolve_model_folder(path) / "README.md", ignore_metadata_errors=True).data.to_dict()
    except (OSError, ValueError, yaml.YAMLError):  # no card, or none that can be read
        said = {}
    languages, license_name = said.get("language"), said.get("license")
    languages = [languages] if isinstance(languages, str) else languages if isinstance(languages, list) else []
    return {
        "hub_id": None if path.startswith("package:") or Path(path).expanduser().is_dir() else path,
        "license": license_name if isinstance(license_name, str) else None,
        "languages": tuple(map(str, languages)),
    }

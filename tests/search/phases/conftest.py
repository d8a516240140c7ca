"""A study with weights for what is done after a search."""

from pathlib import Path

import pytest
from fake_studies import finished_row, write_study
from transformers import BertConfig, BertModel


@pytest.fixture
def study(tmp_path: Path) -> str:
    """Three students of two shapes, with weights, of the embedded teacher."""
    shapes = {0: (2, 32), 1: (2, 32), 2: (1, 32)}
    rows = [finished_row(t, 0.5 + t / 10, shape, learning_rate=1e-3 * (t + 1)) for t, shape in shapes.items()]
    folder = write_study(tmp_path / "study", rows)
    (folder / "spec.toml").write_text('[teacher]\npath = "package:trainables/embedded_teacher"\n')
    for row in rows:
        config = BertConfig(
            vocab_size=50, hidden_size=32, num_hidden_layers=row["num_layers"], num_attention_heads=row["num_heads"],
            intermediate_size=row["intermediate_size"], max_position_embeddings=32,
        )  # fmt: skip
        BertModel(config, add_pooling_layer=False).save_pretrained(folder / row["student_path"])
    return str(folder)

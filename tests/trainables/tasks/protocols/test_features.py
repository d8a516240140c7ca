"""Features of texts do not depend on padding or batches."""

import numpy as np
import pytest
import torch
from small_tasks import MODELS, VOCABULARY, make_roberta

from trainables.models.encoder import hidden_states
from trainables.tasks.protocols.features import encoded_features
from trainables.text.batching import length_batches, padded
from trainables.text.ragged import ragged


@pytest.mark.parametrize("family", MODELS)
def test_encoded_features_do_not_see_padding(family):
    """Batched with right padding, padded on the left by hand, and alone without padding: the same features."""
    model = MODELS[family]().eval()
    rng = np.random.default_rng(0)
    rows = [rng.integers(5, len(VOCABULARY), rng.integers(3, 20)) for _ in range(12)]
    batched = encoded_features(model, ragged(rows, np.int32), pad_id=0)
    with torch.inference_mode():
        for i, row in enumerate(rows):
            alone = hidden_states(model, torch.tensor(row)[None], torch.ones(1, len(row), dtype=torch.int64))
            for layer, state in enumerate(alone):
                np.testing.assert_allclose(batched[layer, i], state[0].mean(0).numpy(), atol=2e-6)
    deepest = encoded_features(model, ragged(rows, np.int32), 0, layers=[1])
    np.testing.assert_allclose(deepest[0], batched[1], atol=1e-6)


def test_left_padding_gives_the_same_layer_means():
    """RoBERTa numbers positions by the ids, so the left-padded text keeps its own."""
    model = make_roberta().eval()
    row = np.arange(5, 15)
    ids, mask = padded([row, np.arange(5, 25)], 0)
    left_ids, left_mask = ids.flip(1).clone(), mask.flip(1)
    left_ids[0, -len(row) :] = torch.from_numpy(row)
    with torch.inference_mode():
        right = hidden_states(model, ids, mask)[-1][0, : len(row)].mean(0)
        left = hidden_states(model, left_ids, left_mask)[-1][0, -len(row) :].mean(0)
    torch.testing.assert_close(left, right, atol=2e-6, rtol=0)


def test_length_batches_cover_all_rows_once_within_the_budget():
    lengths = np.random.default_rng(0).integers(1, 60, 200)
    batches = list(length_batches(lengths, 128))
    assert sorted(np.concatenate(batches)) == list(range(200))
    assert all(lengths[batch].max() * len(batch) <= 128 for batch in batches)
    assert [len(batch) for batch in length_batches(np.array([500, 500]), 128)] == [1, 1]

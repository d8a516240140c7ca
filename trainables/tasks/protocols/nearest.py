"""Exact search: the documents nearest to each query, in blocks, so that memory does not grow with their number.

Shapes: Q queries, N documents, K found for each query, D width.
"""

import numpy as np
import torch

QUERIES, DOCUMENTS = 256, 16_384
"""Of one block: 16 MiB of scores in float32."""


@torch.inference_mode()
def nearest_documents(
    queries_QD: np.ndarray, documents_ND: np.ndarray, depth: int, device: torch.device | str = "cpu"
) -> np.ndarray:
    """Places of the documents with the largest inner products, largest first, QK int32 with K = min(depth, N).

    Of equal scores the document that comes first in `documents_ND` is first.
    """
    found = np.empty((len(queries_QD), min(depth, len(documents_ND))), dtype=np.int32)
    for start in range(0, len(queries_QD), QUERIES):
        queries = torch.from_numpy(queries_QD[start : start + QUERIES]).to(device)
        scores, places = queries.new_empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
        places = places.to(device)
        for first in range(0, len(documents_ND), DOCUMENTS):
            block = torch.from_numpy(np.array(documents_ND[first : first + DOCUMENTS])).to(device)
            numbers = torch.arange(first, first + len(block), device=device).expand(len(queries), -1)
            scores, places = torch.cat([scores, queries @ block.T], 1), torch.cat([places, numbers], 1)
            scores, order = scores.sort(dim=1, descending=True, stable=True)
            scores, places = scores[:, :depth], places.gather(1, order[:, :depth])
        found[start : start + QUERIES] = places.cpu().numpy()
    return found

"""Which heads and feed-forward units of a teacher's layer a smaller student keeps: those that the layer needs most.

What is needed is read from a sample of the corpus, for units and heads with large weights may hardly ever differ from
their mean, which a bias stands for. Shapes: N tokens, D teacher width, d student width, I inner width.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from spaces.students.architecture import StudentArchitecture
from trainables.models.family import LayerParts

DAMPING = 1e-3
"""Of the mean square of a unit, so that units that always move together can be told apart."""


@dataclass(frozen=True)
class Kept:
    """Which heads or feed-forward units of a teacher's layer a student keeps, unit by unit."""

    rows: Tensor
    """Of the maps to them (of queries, where those of keys and values are others), and columns of the map from them."""
    shared: Tensor
    """Rows of keys and values; the same, unless several heads of queries share one of those."""

    def rows_of(self, reading: nn.Linear, writing: nn.Linear) -> Tensor:
        """Of a map to the units, of which `writing` is the map from them; fused maps hold several blocks of rows."""
        if reading.out_features < writing.in_features:
            return self.shared
        blocks = range(0, reading.out_features, writing.in_features)
        return torch.cat([self.rows + start for start in blocks])


def all_kept(layer: LayerParts) -> tuple[Kept, Kept]:
    """Heads and units of a layer that is copied whole."""
    shared = min(layer.from_heads.in_features, layer.to_heads[-1].out_features)
    units = torch.arange(layer.from_units.in_features)
    return Kept(torch.arange(layer.from_heads.in_features), torch.arange(shared)), Kept(units, units)


def kept_heads(
    ours: StudentArchitecture, theirs: StudentArchitecture, layer: LayerParts, read_NI: Tensor | None, basis_Dd: Tensor
) -> Kept:
    """The heads of a teacher's layer that a student keeps: whole ones wherever they fit, those of `needed_heads`.

    read_NI: what the layer's map from the heads reads; None for heads that are spaced evenly, the same in each layer.
    A student whose heads are narrower keeps of each of its heads dimensions that are spaced evenly. Heads of queries
    stay with the head of keys and values that they share. All heads together are as much wider or narrower than the
    stream as the teacher's.
    """
    maps, inner = layer.to_heads, layer.from_heads.in_features
    groups = maps[0].out_features // maps[-1].out_features
    size, own = inner // theirs.num_heads, inner * ours.hidden_size // (theirs.hidden_size * ours.num_heads)
    many, few = theirs.num_heads // groups, ours.num_heads // groups
    wide, narrow = many * size, few * own
    if read_NI is not None and own >= size and narrow % size == 0 and narrow < wide:
        writing_dI = basis_Dd.T @ layer.from_heads.weight.cpu()
        heads = needed_heads(read_NI, writing_dI, groups * size, narrow // size)
        shared = torch.arange(wide).reshape(many, size)[heads].flatten()
    else:
        shared = evenly_kept(many, size, few, own)
    of_head = shared.reshape(-1, own)
    queries = [(of_head // size * groups + number) * size + of_head % size for number in range(groups)]
    return Kept(torch.stack(queries, dim=1).flatten(), shared)


def needed_heads(read_NI: Tensor, writing_dI: Tensor, size: int, wanted: int) -> Tensor:
    """The heads, `size` columns each, without which what is written changes least, in their old order.

    One after the other is taken away, the one that the others can stand in for best: by least squares they take over
    what it wrote (Hassibi and Stork 1993, Optimal Brain Surgeon, for blocks of columns).
    """
    centred_NI = (read_NI - read_NI.mean(0)).double()
    gram_II = centred_NI.T @ centred_NI / len(centred_NI)
    gram_II += DAMPING * gram_II.diag().mean().clamp_min(1e-12) * torch.eye(len(gram_II))
    inverse_II, weight_dI = torch.linalg.inv(gram_II), writing_dI.double().clone()
    left = list(range(len(gram_II) // size))
    while len(left) > wanted:
        columns = {head: torch.arange(head * size, (head + 1) * size) for head in left}
        lost = {
            head: torch.linalg.solve(inverse_II[own][:, own], weight_dI[:, own].T).T.mul(weight_dI[:, own]).sum().item()
            for head, own in columns.items()
        }
        gone = columns[min(left, key=lambda head: lost[head])]
        step_II = torch.linalg.solve(inverse_II[gone][:, gone], inverse_II[gone])
        weight_dI -= weight_dI[:, gone] @ step_II
        inverse_II -= inverse_II[:, gone] @ step_II
        left.remove(int(gone[0]) // size)
    return torch.tensor(left)


def needed_units(read_NI: Tensor, writing_dI: Tensor, wanted: int) -> Kept:
    """The feed-forward units that move the stream most, by the variance of what each writes, in their old order."""
    strength = read_NI.var(0, correction=0) * writing_dI.square().sum(0)
    kept = min(wanted, len(strength))
    chosen = strength.topk(kept).indices.sort().values
    # A student with more units than the teacher repeats some: harmless, they part ways while training.
    units = chosen[torch.arange(wanted) % kept]
    return Kept(units, units)


def evenly_kept(many: int, size: int, few: int, kept_size: int) -> Tensor:
    """Rows of `few` heads of `kept_size`, chosen from those of `many` heads of `size`."""
    wide, narrow = many * size, few * kept_size
    if narrow == wide:
        return torch.arange(wide)
    table = torch.arange(wide).reshape(many, size)
    if kept_size >= size and narrow % size == 0:
        return table[evenly(many, narrow // size)].flatten()
    if few > many or kept_size > size:
        return evenly(wide, narrow)
    return table[evenly(many, few)][:, evenly(size, kept_size)].flatten()


def evenly(available: int, wanted: int) -> Tensor:
    """`wanted` indices spread over range(available)."""
    return (torch.arange(wanted) * available) // wanted

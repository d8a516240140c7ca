"""A signal that does not come with stillhouse: the mean of a layer over the valid tokens of each text, BD."""

import torch

from trainables.models.signals import Positions, Signal, State


def mean(hidden_BTD, mask_BT, positions_BT):
    if mask_BT is None:
        return hidden_BTD.mean(1)
    return (hidden_BTD * mask_BT[:, :, None]).sum(1) / mask_BT.sum(1, keepdim=True)


def one_row(tokens, masked):
    return 1


def pack(state_BD, positions_BT, rows):
    return state_BD[:, None]


def unpack(packed_B1D, positions_BT):
    return packed_B1D[:, 0]


TEXT = Positions("text", mean, one_row, pack, unpack)


def states(layer):
    return (State(layer, TEXT),)


def unit(model, layer, state_BD):
    return torch.nn.functional.normalize(state_BD, dim=-1)


POOLED = Signal("pooled", "the mean of a layer over its valid tokens, of length 1, BD", states, unit)

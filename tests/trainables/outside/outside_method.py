"""`pooled`: the mean over the tokens of a layer, through a learned map."""

from pooled import POOLED

from spaces.students.axis import Axis, Rule, whole
from spaces.students.transfer import TransferMethod
from trainables.losses.loss import Loss, Projection


def loss(pairing):
    ours, theirs = (POOLED, pairing.student.num_layers), (POOLED, pairing.config["pooled_layer"])

    def value(student, teacher, maps, batch):
        return (student[ours] @ maps["pooled"] - teacher[theirs]).square().mean()

    widths = (pairing.student.hidden_size, pairing.teacher.hidden_size)
    return Loss((ours,), (theirs,), value, {"pooled": Projection(*widths, of_states=True)})


def layers(teacher):
    return (teacher.architecture.num_layers, teacher.architecture.num_layers + 1)


def beyond(layer, student, teacher):
    return None if layer <= teacher.architecture.num_layers else f"pooled_layer {layer} is beyond the teacher"


LAYER = Axis(
    "pooled_layer",
    int,
    whole,
    "teacher layer whose mean is learned",
    "layer",
    default=layers,
    rules=(Rule("pooled_layer lies within the teacher", beyond),),
)
METHOD = TransferMethod("pooled", "means over tokens", "none", loss, signals=("pooled",), axes=(LAYER,))

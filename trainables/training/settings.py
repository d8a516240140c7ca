"""How trials are trained, as a spec writes it under [training]."""

from dataclasses import dataclass

from spaces.settings import setting


@dataclass(frozen=True)
class TrainingSpec:
    """How every trial of a study is trained; what differs between trials is in their configurations."""

    weight_decay: float = setting("AdamW weight decay", 0.01, at_least=0)
    warmup_fraction: float = setting("share of the steps with rising learning rate", 0.1, at_least=0, below=1)
    gradient_clip: float = setting("largest gradient norm; larger gradients are scaled down to it", 1.0, above=0)
    mask_fraction: float = setting("share of tokens masked for od and mlm", 0.15, above=0, below=1)
    precision: str = setting("arithmetic of the training steps", "auto", choices=("auto", "fp32", "bf16"))
    mask_views: int = setting("different masks of one block, used in turn by the epochs", 4, at_least=1)
    gradient_accumulation: int = setting("micro-batches per step", 1, at_least=1)
    teacher_precision: str = setting(
        "arithmetic of the teacher's forward pass", "auto", choices=("auto", "fp32", "bf16")
    )
    start: str | None = setting("folder of a student whose weights every trial starts from", None)
    checkpoint_every_s: float = setting("seconds between two checkpoints of a running trial", 60.0, above=0)

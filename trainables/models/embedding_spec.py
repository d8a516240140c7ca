"""What a spec writes under [embedding]. It travels with every trial's job, through processes that do without torch."""

from dataclasses import dataclass

from spaces.settings import setting

POOLING_NAMES = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""As sentence-transformers names them, in the order in which its older versions put several side by side."""


@dataclass(frozen=True)
class EmbeddingSpec:
    """How texts become vectors, where the teacher's folder does not say so."""

    pooling: str | None = setting(
        "how a teacher without modules.json pools the states of its last layer; unset: mean", None,
        choices=POOLING_NAMES,
    )  # fmt: skip
    prompt: str | None = setting(
        "name of the teacher's prompt that stands before every text that is embedded; unset: its default, if any", None
    )

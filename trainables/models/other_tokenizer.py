"""Students with another tokenizer than their teacher: the teacher over their vocabulary, of which they are made.

Its layers are the teacher's, its words are those of the students as far as the teacher's pieces can say them
(vocabulary_transfer.py). Students are cut from it and counted by it. It is asked for no targets: a text is embedded by
the teacher itself, which reads it in its own tokens.
"""

from dataclasses import replace

from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from spaces.errors import SpecError
from spaces.students.architecture import TeacherFacts
from trainables.cache import digest
from trainables.models.embedding import Embedder, embedder_of, prompt_tokens, set_embedder
from trainables.models.encoder import family_of
from trainables.models.other_family import OtherFamilies, reads_of
from trainables.models.vocabulary import over_words, special_keys, with_words
from trainables.models.vocabulary_transfer import form_of, size_of, token_ids, transfer
from trainables.text.packing import tokenizer_digest


def refuse_tokenizer(tokenizer: PreTrainedTokenizerBase, facts: TeacherFacts, embedder: Embedder) -> None:
    """Raise SpecError for a tokenizer that students of a teacher could not do with."""
    if facts.scores_pairs:
        raise SpecError([f"teacher {facts.name!r} scores pairs, and students of such a teacher read its tokens"])
    form_of(tokenizer)
    problems = []
    if tokenizer.pad_token_id is None:
        problems.append('it names no padding token ("pad_token" in tokenizer_config.json), which texts of a batch need')
    if "cls" in embedder.pooling and tokenizer("a")["input_ids"][0] not in tokenizer.all_special_ids:
        problems.append(
            "it begins no text with a special token, and the teacher pools the state of the first one (cls)"
        )
    if problems:
        raise SpecError(problems)


def with_students(
    facts: TeacherFacts, config: PretrainedConfig, embedder: Embedder,
    own: PreTrainedTokenizerBase, theirs: PreTrainedTokenizerBase,
) -> TeacherFacts:  # fmt: skip
    """The facts of a teacher whose students have this tokenizer; as they are where it is the teacher's own.

    Raises SpecError where the family of the teacher cannot read its tokens.
    """
    if tokenizer_digest(own) == tokenizer_digest(theirs):
        return facts
    words = config_over(config, theirs)
    skipped = prompt_tokens(theirs, embedder.prompt) if embedder.skipped else 0
    return replace(
        facts,
        reworded=replace(
            facts,
            family=family_of(words).facts(words),
            vocab_size=words.vocab_size,
            has_lm_head=False,
            digest=digest(facts.digest, tokenizer_digest(theirs)),
            embedding=replace(facts.embedding, skipped=skipped),
            others=OtherFamilies(reads_of(words)),
        ),
    )


def config_over(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase) -> PretrainedConfig:
    """A model's config over the vocabulary of another tokenizer. Raises SpecError as `over_words` does."""
    return over_words(config, size_of(tokenizer), token_ids(special_keys(config), tokenizer))


def reworded(
    model: PreTrainedModel, own: PreTrainedTokenizerBase, theirs: PreTrainedTokenizerBase
) -> tuple[PreTrainedModel, str]:
    """A bare teacher over the vocabulary of its students, and where its words come from, for a person."""
    words, embedder = transfer(own, theirs), embedder_of(model)
    other = with_words(model, words.rows, lm_head=False, config=config_over(model.config, theirs))
    skipped = prompt_tokens(theirs, embedder.prompt) if embedder.skipped else 0
    set_embedder(other, replace(embedder, skipped=skipped))
    return other.requires_grad_(False), words.text

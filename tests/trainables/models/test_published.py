"""What is known of a teacher from its own card."""

from trainables.models.published import card_of_derived, published


def test_licence_and_languages_come_from_the_teacher_card(tmp_path):
    (tmp_path / "README.md").write_text("---\nlicense: mit\nlanguage:\n- de\n- en\n---\n# A teacher\n")
    assert published(str(tmp_path)) == {"hub_id": None, "license": "mit", "languages": ("de", "en")}
    (tmp_path / "README.md").write_text("---\nlanguage: en\nlicense: [a, b]\n---\n")
    assert published(str(tmp_path)) == {"hub_id": None, "license": None, "languages": ("en",)}


def test_a_teacher_without_a_card_or_with_a_broken_one_says_nothing(tmp_path):
    nothing = {"hub_id": None, "license": None, "languages": ()}
    assert published(str(tmp_path)) == nothing
    (tmp_path / "README.md").write_text("---\n{ license: [\n---\n")
    assert published(str(tmp_path)) == nothing


def test_what_is_made_from_a_teacher_says_from_which(tmp_path):
    facts = {"hub_id": "owner/teacher", "license": "mit", "languages": ("de", "en")}
    source, made = tmp_path / "source", tmp_path / "made"
    for folder in (source, made):
        folder.mkdir()
    said = "license: mit\nlanguage: [de, en]\nbase_model: owner/teacher"
    (source / "README.md").write_text(f"---\n{said}\n---\n# A teacher\n")
    (made / "README.md").write_text(card_of_derived(str(source), "# Smaller"))
    assert published(str(source)) == published(str(made)) == facts
    (source / "README.md").unlink()
    assert card_of_derived(str(source), "# Smaller") == "# Smaller\n"

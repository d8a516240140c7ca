"""What is known of a teacher from its own card."""

from trainables.models.published import published


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

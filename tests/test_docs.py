"""The documents agree with each other and with the code."""

import argparse
import re
import runpy
import shlex
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from test_architecture import ROOMS

from search.cli.main import build_parser
from search.spec.checks import check_all
from spaces.students.architecture import StudentArchitecture, TeacherFacts
from trainables.models.families.bert import BertFacts
from trainables.models.family import ReadFacts
from trainables.models.other_family import OtherFamilies

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
GUIDES = [page for page in PAGES if "results" not in page.parts and page.name != "extending.md"]
BASE = {
    "teacher": {"path": "package:trainables/embedded_teacher"},
    "corpus": {"source": "docs"},
    "tasks": [{"name": "order", "source": "docs:order", "kind": "classification"}],
    "space": {"method": ["hs"], "shape": ["2x96"]},
}
"""What an example leaves out that shows one section only."""
TEACHER = TeacherFacts(
    "teacher", BertFacts("bert"), StudentArchitecture(12, 384, 12, 1536), 30522, 512, 2, True, "",
    others=OtherFamilies(ReadFacts(30522, 512, 2, (("pad_token_id", 0),))),
)  # fmt: skip


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def anchor(heading: str) -> str:
    """A heading as GitHub names it in links."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    return {anchor(line.lstrip("#")) for line in text.splitlines() if line.startswith("#")}


def commands(page: Path) -> list[list[str]]:
    """The words after `stillhouse` of every command in shell blocks; A && B are two, and > FILE is not its own."""
    found = []
    for block in blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            chain = " ".join(map(shlex.quote, shlex.split(line, comments=True))).split(" '&&' ")
            for words in map(shlex.split, chain):
                words = words[: words.index(">")] if ">" in words else words
                if "stillhouse" in words:
                    found.append(words[len(words) - words[::-1].index("stillhouse") :])
    return found


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    broken = []
    for target in LINK.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://")):
            continue
        path, _, part = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (part and part not in anchors(file)):
            broken.append(target)
    assert not broken


def test_every_page_is_reached_from_the_readme():
    seen, waiting = set(), [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = LINK.findall(page.read_text(encoding="utf-8"))
        waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links if not link.startswith("http")]
    assert set(PAGES) <= seen


@pytest.mark.parametrize("page", [page for page in GUIDES if blocks(page, "toml")], ids=name_of)
def test_specs_are_read(page):
    for block in blocks(page, "toml"):
        spec = {**BASE, **tomllib.loads(block)}
        labels = int(spec["corpus"].get("texts") == "pairs")  # which a teacher that scores pairs reads
        labels = 3 if spec.get("evaluation", {}).get("protocol") == "classifier" else labels
        check_all(spec, ROOT, None, lambda *named, labels=labels: replace(TEACHER, labels=labels))


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=name_of)
def test_commands_exist_with_their_options(page, capsys):
    for words in commands(page):
        try:
            build_parser().parse_args(words)
        except (SystemExit, argparse.ArgumentTypeError):
            pytest.fail(f"stillhouse {' '.join(words)}: {capsys.readouterr().err}")


def test_the_reference_is_what_the_code_says():
    generate = runpy.run_path(str(ROOT / "docs" / "reference" / "generate.py"))
    drifted = [name for name, make in generate["PAGES"].items() if (generate["HERE"] / name).read_text() != make()]
    assert not drifted, "run python docs/reference/generate.py"


def test_the_readme_is_short():
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 180
    assert [line for line in lines if len(line) > 100] == []


def test_contributing_names_every_room():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = [room for room in ROOMS if (ROOT / room.replace(".", "/")).is_dir() and "." in room]
    assert [room for room in rooms if f"`{room}`" not in text] == []
    table = text.partition("## The rooms")[2].partition("\n## ")[0]
    assert table.count("\n| `") == len(rooms)

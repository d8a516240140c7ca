"""The rules of the layout, held by reading the imports of every file."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("spaces", "trainables", "search", "analysis")
MAY_IMPORT = {
    "spaces": {"spaces"},
    "trainables": {"trainables", "spaces"},
    "search": {"search", "trainables", "spaces"},
    "analysis": {"analysis", "spaces"},
}
HEAVY = {"torch", "transformers", "ray", "tokenizers", "safetensors", "datasets"}
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> set[str]:
    """Top-level names of everything that is imported anywhere below, also inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add((node.module or "").split(".")[0])
    return found


def imports_of(path: Path) -> set[str]:
    return imports(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_one_way(path):
    package, name, imported = path.relative_to(ROOT).parts[0], name_of(path), imports_of(path)
    allowed = MAY_IMPORT[package] | ({"analysis"} if name == "search/seeing.py" else set())
    assert imported.intersection(PACKAGES) <= allowed
    assert "tests" not in imported
    if package in ("spaces", "analysis"):
        assert not imported & HEAVY
    if package == "trainables" and name not in ("trainables/worker.py", "trainables/lane.py"):
        assert "ray" not in imported


@pytest.mark.parametrize("path", [p for p in FILES if p.is_relative_to(ROOT / "trainables")], ids=name_of)
def test_optional_packages_are_imported_where_they_are_used(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = ast.Module([node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)], [])
    assert not imports(top) & {"datasets", "sklearn", "onnx", "onnxruntime"}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_file_says_what_it_is_for(path):
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_there_is_no_drawer_of_helpers():
    assert not [name_of(path) for path in FILES if path.stem in ("utils", "helpers", "common", "misc")]


def test_the_reader_finds_imports_wherever_they_are():
    tree = ast.parse("import a.b\ndef f():\n    from c.d import e\nif x:\n    import g as h")
    assert imports(tree) == {"a", "c", "g"}


def test_the_readme_names_every_module():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = "".join(block for block in re.findall(r"```.*?\n(.*?)```", text, re.DOTALL) if "spaces/" in block)
    assert tree, "README.md shows no tree of the packages"
    missing = [name_of(path) for path in FILES if path.name != "__init__.py" and not re.search(
        rf"(?<![\w-]){re.escape(path.name)}(?!\w)", tree)]  # fmt: skip
    assert not missing

"""The rules of the layout, held by reading the imports of every file."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("spaces", "trainables", "search", "analysis")
ROOMS = (
    "spaces.errors", "spaces.registry", "spaces.settings", "spaces.telling", "spaces.values", "spaces.students",
    "spaces.space", "spaces.records",
    "trainables.home", "trainables.cache", "trainables.copies", "trainables.machine", "trainables.text",
    "trainables.models", "trainables.losses", "trainables.tasks", "trainables.training", "trainables.export",
    "trainables.lanes",
    "analysis.words", "analysis.study", "analysis.selection", "analysis.statistics", "analysis.figures",
    "analysis.page", "analysis",
    "search.samplers", "search.spec", "search.store", "search.proposals", "search.tune", "search.phases",
    "search.cli", "search",
)  # fmt: skip
"""From the lowest to the highest: a room imports from itself and from rooms above it in this list, never from below."""
STRANGERS = {("analysis", "trainables"), ("trainables", "search"), ("trainables", "analysis")}
"""Packages that must not know each other although one is lower."""
HEAVY = {"torch", "transformers", "ray", "tokenizers", "safetensors", "datasets"}
UNLOADED = {
    "search.cli.main": {"torch", "ray", "pandas", "optuna"},
    "analysis.page.report": {"torch", "ray", "transformers"},
    "search.spec.explain": {"ray", "pandas", "optuna"},
    "search.phases.encoders": {"ray", "pandas", "optuna"},
    "search.phases.exporting": {"ray", "pandas", "optuna"},
    "search.phases.profiling": {"ray", "pandas", "optuna"},
    "search.phases.description": {"ray", "pandas"},
    "trainables.lanes.lane": {"torch", "transformers"},
    "trainables.training.loop": {"ray", "optuna", "datasets"},
    "trainables.text.corpus": {"ray", "optuna", "datasets"},
    "trainables.models.teacher": {"ray", "optuna", "datasets"},
    "trainables.losses.mha": {"ray", "optuna", "datasets"},
}
"""What does not come along with a module: commands answer at once, students are trained and exported without Ray, and
each lane has three processes of Ray beside its workers."""
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(tree: ast.AST) -> set[str]:
    """Dotted names of everything that is imported anywhere below, also inside functions."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> set[str]:
    return imports(tree_of(path))


def loaded_by(module: str) -> set[str]:
    """Dotted names of all that is imported when a module of ours is, by it or by what it imports."""
    files = {name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in FILES}
    found, waiting = set(), {module}
    while waiting:
        name = waiting.pop()
        found.add(name)
        outer = {name.rpartition(".")[0]} - {""}  # what is no module is a name in one
        inner = at_the_top(files[name]) if name in files else set()
        waiting |= {each for each in outer | inner if each not in found}
    return found


@cache
def at_the_top(path: Path) -> set[str]:
    """What a file imports as soon as it is imported itself."""
    return imports(ast.Module([node for node in tree_of(path).body if not isinstance(node, ast.FunctionDef)], []))


def packages_in(imported: set[str]) -> set[str]:
    """Top-level names."""
    return {name.partition(".")[0] for name in imported}


def room_of(module: str) -> str:
    """The room of a module; the longest name in ROOMS that it starts with."""
    return max((room for room in ROOMS if f"{module}.".startswith(f"{room}.")), key=len, default=module)


def test_rooms_import_one_way():
    modules = {path: name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in FILES}
    own = [
        (name_of(path), room_of(module), room_of(imported))
        for path, module in modules.items()
        for imported in imports_of(path)
        if imported.partition(".")[0] in PACKAGES
    ]
    upward = [edge for edge in own if ROOMS.index(edge[1]) < ROOMS.index(edge[2])]
    strange = [edge for edge in own if (edge[1].partition(".")[0], edge[2].partition(".")[0]) in STRANGERS]
    assert not upward
    assert not strange
    assert not [edge for edge in own if edge[2].startswith("analysis") and edge[1] not in ("search.cli", edge[2])
                and not edge[1].startswith("analysis")]  # fmt: skip


def test_heavy_packages_stay_where_they_are_needed():
    for path in FILES:
        heavy = packages_in(imports_of(path))
        light = HEAVY if name_of(path).startswith(("spaces", "analysis")) else set()
        if name_of(path).startswith("trainables") and "/lanes/" not in name_of(path):
            light = {"ray"}
        assert not heavy & light, name_of(path)


def own_imports(tree: ast.AST) -> set[str]:
    return {name for name in imports(tree) if name.partition(".")[0] in PACKAGES}


def test_own_modules_are_imported_at_the_top():
    """But for commands, which load what they need, and for kernels that need an optional package."""
    late = [
        name_of(path)
        for path in FILES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.FunctionDef) and own_imports(node)
    ]
    assert {name for name in late if not name.startswith("search/cli/")} == {"trainables/losses/fused.py"}
    assert not [name_of(path) for path in FILES if "typing.TYPE_CHECKING" in imports_of(path)]


def test_no_module_imports_itself_in_a_circle():
    modules = {name_of(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in FILES}
    left = {
        module: {name if name in modules else name.rpartition(".")[0] for name in own_imports(tree_of(path))}
        for module, path in modules.items()
    }
    while free := [module for module, wanted in left.items() if not wanted & left.keys()]:
        for module in free:
            del left[module]
    assert not left


@pytest.mark.parametrize("module", UNLOADED)
def test_what_a_module_does_without(module):
    assert not packages_in(loaded_by(module)) & UNLOADED[module]


def test_optional_packages_are_imported_where_they_are_used():
    for path in FILES:
        found = packages_in(at_the_top(path)) & {"datasets", "sklearn", "onnx", "onnxruntime"}
        assert not found or not name_of(path).startswith("trainables"), name_of(path)


def test_every_file_says_what_it_is_for():
    assert not [name_of(path) for path in FILES if not ast.get_docstring(tree_of(path))]


def test_there_is_no_drawer_of_helpers():
    assert not [name_of(path) for path in FILES if path.stem in ("utils", "helpers", "common", "misc")]


def test_the_reader_finds_imports_wherever_they_are():
    assert packages_in(loaded_by("search.phases.runner")) > {"torch", "ray", "optuna"}
    tree = ast.parse("import a.b\ndef f():\n    from c.d import e\nif x:\n    import g as h")
    assert imports(tree) == {"a.b", "c.d.e", "g"}

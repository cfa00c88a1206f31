"""The architecture, held to by the imports of every file: docs/architecture.md says it in words.

An import counts wherever it stands: at the top, inside a function, or for the type checker alone.
"""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = (ROOT / "docs" / "architecture.md").read_text()

# Floors from the ground up. A room is a folder or a file of cnn_archs, and imports rooms on lower
# floors only. The rooms of CORE train and evaluate; those of TOOLS use them.
CORE = [
    {"arithmetic", "errors", "metrics", "shipped", "models"},
    {"config_files", "config_keys", "knobs", "optim", "runtime"},
    {"config", "distributed", "layer_patterns", "result_files"},
    {"checkpoint_files", "normalizations", "roles", "run_dir"},
    {"checkpoints", "data.corruption", "data.transforms", "published_weights"},
    {"data.datasets"},
    {"data.loading", "data.record"},
    {"data.dataset"},
    {"data.arrays", "experiment_inputs"},
    {"data", "experiment"},
    {"evaluate"},
    {"training"},
]
TOOLS = [
    {"sweep_dir"},
    {"classical", "data.prepare", "launch", "report", "visualize"},
    {"planning", "sweeps", "conversion"},
    {"claims"},
    {"commands", "library"},
    {"__init__"},  # `cnn_archs` itself: the names that a notebook uses
    {"cli"},
    {"__main__"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(CORE + TOOLS) for room in rooms}

# Packages that any room may import, and the rooms that hold each of the others.
SHARED = {"flax", "jax", "numpy", "optax", "PIL"}
HOLDERS = {
    "array_record": {"data.datasets", "data.prepare"},
    "filelock": {"runtime"},
    "jaxlib": {"runtime"},
    "jinja2": {"report"},
    "matplotlib": {"report", "visualize"},
    "ml_collections": {"config"},
    "orbax": {"checkpoints"},
    "rich": {"runtime"},
    "safetensors": {"training"},
    "scipy": {"classical", "report"},
    "simplejpeg": {"data.loading"},
    "sklearn": {"classical", "data.datasets"},
    "submitit": {"launch"},
    "tensorboardX": {"training"},
    "tensorflow": {"data.prepare"},
    "tensorflow_datasets": {"data.datasets", "data.prepare"},
    "torch": {"conversion"},
    "yaml": {"launch"},
}


def module_of(path: Path) -> str:
    """`cnn_archs.models.lenet` for cnn_archs/models/lenet.py, `cnn_archs` for its __init__.py."""
    dotted = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    return dotted.removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted((ROOT / "cnn_archs").rglob("*.py"))}


def imports(tree: ast.AST) -> set[str]:
    """The modules, or names in modules, that the code imports, in dotted form."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            values = [n.value for n in node.args if isinstance(n, ast.Constant)]
            found |= {value for value in values if isinstance(value, str)}
    return found


def module_in(name: str) -> str | None:
    """The longest prefix of a dotted name that is a module of ours."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name or None


def room_of(module: str) -> str | None:
    """The room of FLOOR_OF that a module of cnn_archs stands in."""
    name = module.removeprefix("cnn_archs.") if module != "cnn_archs" else "__init__"
    while name and name not in FLOOR_OF:
        name = name.rpartition(".")[0]
    return name or None


TREES = {module: ast.parse(path.read_text()) for module, path in MODULES.items()}
IMPORTS = {module: imports(tree) for module, tree in TREES.items()}
GRAPH = {
    module: {ours for name in names if (ours := module_in(name)) and ours != module}
    for module, names in IMPORTS.items()
}
FOREIGN = {
    module: {name.split(".")[0] for name in names} - sys.stdlib_module_names - {"cnn_archs"}
    for module, names in IMPORTS.items()
}


def test_an_import_is_found_wherever_it_hides():
    source = """
import a.b
from c import d as e
if TYPE_CHECKING:
    from f import g
def h():
    from i.j import k
    importlib.import_module("l.m")
"""
    assert imports(ast.parse(source)) == {"a.b", "c.d", "f.g", "i.j.k", "l.m"}


def test_every_file_stands_in_a_room():
    # The __init__.py of a folder whose rooms are the folders in it is empty.
    lost = [m for m, tree in TREES.items() if not room_of(m) and tree.body]
    assert not lost, f"these have no floor: add their room to CORE or TOOLS: {lost}"


def test_no_import_runs_up():
    up = [
        f"{module} ({a}) imports {other} ({b})"
        for module, others in GRAPH.items()
        for other in others
        if (a := room_of(module)) and (b := room_of(other)) and a != b
        if FLOOR_OF[b] >= FLOOR_OF[a]
    ]
    assert not up, "a room imports rooms on lower floors only:\n" + "\n".join(up)


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """The circles that a walk along the arrows of `graph` comes upon."""
    found, done = [], set()

    def walk(node: str, path: list[str]) -> None:
        if node in path:
            found.append([*path[path.index(node) :], node])
        elif node not in done:
            for other in sorted(graph[node]):
                walk(other, [*path, node])
            done.add(node)

    for node in graph:
        walk(node, [])
    return found


def test_a_circle_is_found():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == [["b", "c", "b"]]
    assert not circles({"a": {"b", "c"}, "b": {"c"}, "c": set()})


def test_no_files_import_each_other_in_a_circle():
    found = [" -> ".join(circle) for circle in circles(GRAPH)]
    assert not found, "files import each other in a circle:\n" + "\n".join(found)


@pytest.mark.parametrize("module", [m for m in MODULES if room_of(m) == "models"])
def test_models_know_flax_jax_and_numpy_only(module):
    assert FOREIGN[module] <= {"flax", "jax", "numpy"}
    assert {room_of(other) for other in GRAPH[module]} <= {"models"}


def test_a_package_is_imported_only_by_the_rooms_that_hold_it():
    wrong = [
        f"{module} imports {package}, which {HOLDERS.get(package, 'nobody')} may"
        for module, packages in FOREIGN.items()
        for package in packages - SHARED
        if room_of(module) not in HOLDERS.get(package, set())
    ]
    assert not wrong, "see SHARED and HOLDERS:\n" + "\n".join(wrong)


def at_the_top(tree: ast.Module) -> ast.Module:
    """The imports that run when the module is imported."""
    return ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])


def reached(module: str) -> set[str]:
    """The modules, of ours or foreign, that importing `module` imports."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        if (one := waiting.pop()) not in found:
            found.add(one)
            for name in imports(at_the_top(TREES[one])) if one in TREES else ():
                waiting.append(module_in(name) or name.split(".")[0])
    return found


LIGHT = [m for m in MODULES if room_of(m) in ("cli", "commands", "launch", "report", "__init__")]


@pytest.mark.parametrize("module", LIGHT)
def test_the_command_line_and_the_report_do_not_import_jax(module):
    assert not reached(module) & {"jax", "flax", "optax", "orbax"}


def test_launch_is_the_door_to_the_command_line_and_nothing_else():
    tree = ast.parse((ROOT / "launch.py").read_text())
    # Nothing that a file of the repository may replace.
    assert imports(tree) == {"_signal", "importlib.util", "os", "sys"}
    assert ast.unparse(tree).endswith("start.call('cnn_archs.cli:main')")


def test_signals_are_answered_before_anything_heavy_is_imported():
    light = ("process", "console", "signals", "files")
    for module in ("cnn_archs.__main__", "cnn_archs.runtime.start", "cnn_archs.runtime.process"):
        assert reached(module) - sys.stdlib_module_names <= {
            *("cnn_archs", "cnn_archs.__main__", "cnn_archs.errors", "cnn_archs.runtime"),
            *("cnn_archs.runtime.start", *(f"cnn_archs.runtime.{name}" for name in light)),
        }


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").rglob("*.py")), ids=lambda p: p.stem)
def test_experiments_know_ml_collections_and_each_other_only(path):
    names = {name.split(".")[0] for name in imports(ast.parse(path.read_text()))}
    assert names - sys.stdlib_module_names <= {"ml_collections", "experiments"}


def test_the_document_names_every_room():
    paths = {room: room.replace(".", "/") for room in FLOOR_OF}
    missing = [
        r for r, p in paths.items() if f"`{p}/`" not in DOCUMENT and f"`{p}.py`" not in DOCUMENT
    ]
    assert not missing, f"docs/architecture.md does not name {missing}"


PATHS = sorted(set(re.findall(r"`([\w./-]+(?:/|\.\w+))`", DOCUMENT)))


@pytest.mark.parametrize("path", PATHS)
def test_a_path_of_the_document_exists(path):
    assert (ROOT / path).exists() or (ROOT / "cnn_archs" / path).exists()


def test_the_document_has_paths():
    assert len(PATHS) > 40

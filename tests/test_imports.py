"""Who may import whom: the imports of every file, found in its syntax tree.

Nothing below imports what stands above it. A new file of cnn_archs gets a line in MAY_IMPORT or
stands in a room that has one.
"""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([*ROOT.glob("cnn_archs/**/*.py"), *ROOT.glob("experiments/**/*.py")])
NAMES = [str(path.relative_to(ROOT)) for path in FILES]

# What every room may import: files, signals, and the names of the files of a run.
GROUND = {"files", "run_dir", "signals", "sweep_dir"}
# Room, or file in it -> what of cnn_archs it may import. The nearest line counts.
MAY_IMPORT = {
    "cnn_archs": {"models", "evaluate.run"},  # the two names of its door, __init__.py
    "cnn_archs.errors": set(),
    "cnn_archs.cache": set(),
    "cnn_archs.metrics": set(),
    "cnn_archs.table": set(),
    "cnn_archs.environment": set(),
    "cnn_archs.compiler_options": set(),
    "cnn_archs.allocation": set(),
    "cnn_archs.backend": {"allocation", "compiler_options", "errors"},
    "cnn_archs.files": {"errors"},
    "cnn_archs.signals": {"errors"},
    "cnn_archs.run_dir": {"config", "errors", "files"},
    "cnn_archs.sweep_dir": {"config", "errors", "files", "run_dir"},
    "cnn_archs.models": {"models"},
    "cnn_archs.cluster": {"errors"},
    "cnn_archs.cluster.job": {"cli"},  # a front door, like launch.py
    "cnn_archs.cluster.slurm": {"cluster.job", "errors"},
    "cnn_archs.cluster.jobset": {"cluster.job", "errors"},
    "cnn_archs.cluster.local": {"cluster.machine", "errors"},
    "cnn_archs.data": {"data", "errors"},
    "cnn_archs.data.resident": {"cluster.mesh", "data.order", "data.sources"},
    "cnn_archs.data.streaming": {
        *("cluster.processes", "data.crops", "data.decode", "data.order", "data.sources"),
        *("data.threads", "errors"),
    },
    "cnn_archs.data.statistics": {
        *("cluster.processes", "data.damage", "data.inputs", "data.sources", "data.streaming"),
        "files",
    },
    "cnn_archs.data.inputs": {"data.augment", "data.crops", "data.standardize"},
    "cnn_archs.data.prepare": {
        *("data.damage", "data.originals", "data.prepared", "data.shards", "errors"),
        "train.progress",
    },
    "cnn_archs.config": {"models", "errors"},
    "cnn_archs.experiment": {
        *("backend", "config", "data", "errors", "models", "train.durations", "train.recipe"),
    },
    "cnn_archs.roles": {"config", "errors"},
    "cnn_archs.visualize.pictures": {
        *("visualize.figures", "visualize.contact_sheet", "data", "evaluate.predict", "experiment"),
    },
    "cnn_archs.planning.sweep_cost": {"models", "table", "train.progress"},
    **dict.fromkeys(
        ("cnn_archs.claims", "cnn_archs.planning", "cnn_archs.report", "cnn_archs.visualize"), set()
    ),  # and one line for each file
    "cnn_archs.visualize.figures": set(),
    "cnn_archs.visualize.contact_sheet": set(),
    "cnn_archs.report.time_to_error": set(),
    "cnn_archs.report.text": {"run_dir", "table"},
    "cnn_archs.planning.summary_tables": {"models.summary", "table"},
    "cnn_archs.claims.checks": {
        *("claims.checks", "models.summary", "config", "data.crops", "data.sources", "models"),
        *("evaluate.views", "experiment", "train.schedules"),
    },
    "cnn_archs.claims.schema": {"claims.checks", "config", "errors"},
    "cnn_archs.claims.evidence": {"claims.checks", "config", "errors", "models", "roles"},
    "cnn_archs.report.statistics": set(),
    "cnn_archs.report.runs": {"models.vgg", "roles"},
    "cnn_archs.report.provenance": set(),
    "cnn_archs.report.read_runs": {"report.runs", "config", "errors"},
    "cnn_archs.report.printed_values": {"report.runs", "config", "errors", "roles"},
    "cnn_archs.report.tables": {
        *("report.runs", "report.provenance", "report.time_to_error", "report.text", "table"),
    },
    "cnn_archs.report.comparisons": {
        *("report.runs", "report.statistics", "report.printed_values", "report.tables"),
        "table",
    },
    "cnn_archs.planning.devices": {"errors"},
    "cnn_archs.planning.input_rate": {"data", "errors", "experiment"},
    "cnn_archs.planning.throughput": {
        *("planning.sweep_cost", "planning.devices", "report.provenance", "data.threads", "models"),
    },
    "cnn_archs.planning.plan_text": {"planning.devices", "table", "train.progress"},
    "cnn_archs.planning.xla_memory": {
        "cluster.mesh",
        "compiler_options",
        "errors",
        "experiment",
        "models",
        "train.assemble",
        "train.recipe",
        "train.steps",
    },
    "cnn_archs.planning.memory": {
        *("planning.input_rate", "planning.xla_memory", "data.streaming", "errors", "experiment"),
        *("train.assemble", "train.recipe"),
    },
    "cnn_archs.planning.plan": {
        *("planning.memory", "planning.input_rate", "planning.devices", "models.summary"),
        *("planning.throughput", "planning.xla_memory", "cluster", "errors", "experiment"),
        *("train.assemble", "train.recipe"),
    },
    "cnn_archs.report.svg": {"report.runs"},
    "cnn_archs.report.learning_curves": {"report.runs", "report.read_runs", "report.svg"},
    **dict.fromkeys(
        (f"cnn_archs.report.{name}" for name in ("layer_plots", "scatter")),
        {"report.runs", "report.svg"},
    ),
    "cnn_archs.report.html": {
        *("report.runs", "report.read_runs", "report.comparisons", "report.learning_curves"),
        *("report.svg", "report.layer_plots", "report.scatter", "report.printed_values"),
        *("report.tables", "table"),
    },
    "cnn_archs.claims.results_page": {
        *("report.runs", "claims.verdicts", "report.read_runs", "report.printed_values"),
        *("report.text", "claims.schema", "report.tables", "table"),
    },
    "cnn_archs.claims.verdicts": {
        *("claims.evidence", "claims.checks", "report.statistics", "table"),
        *("claims.schema", "config", "errors"),
    },
    "cnn_archs.train": set(),  # and one line for each file, as for evaluate
    "cnn_archs.train.losses": set(),
    "cnn_archs.train.schedules": set(),
    "cnn_archs.train.durations": {"errors"},
    "cnn_archs.train.recipe": {
        *("errors", "train.averages", "train.durations", "train.losses", "train.optimizers"),
        "train.schedules",
    },
    "cnn_archs.train.optimizers": {"train.schedules"},
    "cnn_archs.train.averages": {"train.schedules"},
    "cnn_archs.train.progress": {"errors"},
    "cnn_archs.train.history": {"errors"},
    "cnn_archs.train.profiling": {"errors"},
    "cnn_archs.train.curvature": {"models.network", "train.losses"},
    "cnn_archs.train.steps": {
        "cluster.mesh",
        "metrics",
        "models",
        "train.averages",
        "train.losses",
    },
    "cnn_archs.train.on_one_cpu": {
        *("compiler_options", "models.cpu"),
    },
    "cnn_archs.train.logs": set(),
    "cnn_archs.train.checkpoint": {"errors"},
    "cnn_archs.evaluate": set(),
    "cnn_archs.evaluate.counting": {"cluster.mesh", "metrics"},
    "cnn_archs.evaluate.views": {"data.crops", "errors"},
    "cnn_archs.evaluate.cutting": {"data"},
    "cnn_archs.evaluate.protocols": {
        *("data", "errors", "evaluate.cutting", "evaluate.views", "experiment", "metrics"),
        "models",
    },
    "cnn_archs.evaluate.precise": {"data", "errors", "experiment", "models.layers", "train.steps"},
    "cnn_archs.evaluate.ensemble": {"errors", "evaluate.protocols", "experiment", "metrics"},
    "cnn_archs.evaluate.robustness": {
        *("cluster", "config", "data", "errors", "evaluate.counting", "evaluate.run", "metrics"),
        *("experiment", "train.steps"),
    },
    "cnn_archs.evaluate.predict": {
        *("config", "data", "errors", "evaluate.run", "experiment"),
    },
    "cnn_archs.evaluate.run": {
        *("cluster", "config", "data", "environment", "errors", "evaluate.counting"),
        *("evaluate.ensemble", "evaluate.precise", "evaluate.protocols", "evaluate.views"),
        *("experiment", "metrics", "models", "train.checkpoint", "train.steps"),
    },
    "cnn_archs.train.run": {
        *("cluster", "data", "errors", "evaluate.counting", "experiment", "metrics"),
        "train.averages",
        *("train.checkpoint", "train.diagnostics", "train.history", "train.optimizers"),
        *("train.schedules", "train.steps"),
    },
    "cnn_archs.train.warm_start": {
        "cluster",
        "config",
        "errors",
        "evaluate.run",
        "experiment",
        "train.run",
    },
    "cnn_archs.train.assemble": {
        *("cluster", "compiler_options", "data", "errors", "experiment", "models", "roles"),
        *("train.curvature", "train.diagnostics", "train.losses", "train.on_one_cpu"),
        *("train.optimizers", "train.recipe", "train.run", "train.schedules", "train.steps"),
    },
    "cnn_archs.train.loop": {
        *(
            "models.summary",
            "cluster.processes",
            "config",
            "roles",
            "data.statistics",
            "environment",
            "errors",
            "metrics",
        ),
        "experiment",
        *("train.assemble", "train.checkpoint", "train.history", "train.logs"),
        *("train.profiling", "train.progress", "train.run", "train.warm_start"),
    },
    "cnn_archs.train.diagnostics": {"compiler_options", "models", "train.losses", "train.steps"},
    "cnn_archs.train.worker": {
        *(
            "report.learning_curves",
            "config",
            "errors",
            "evaluate.robustness",
            "experiment",
            "visualize.pictures",
        ),
        "train.loop",
    },
    "cnn_archs.train.grid": {"config", "errors", "experiment", "roles"},
    "cnn_archs.train.sweep": {"cluster.machine", "errors", "train.grid"},
    "cnn_archs.weights": set(),
    "cnn_archs.weights.torch_names": {"models"},
    "cnn_archs.weights.torch_layout": {"models", "weights.torch_names"},
    "cnn_archs.weights.export": {
        *("compiler_options", "errors", "evaluate.run", "experiment", "models"),
        *("train.weights_file", "weights.torch_layout"),
    },
    "cnn_archs.train.weights_file": {
        *("environment", "errors", "experiment", "files", "run_dir"),
        *("train.checkpoint", "train.run", "train.steps"),
    },
    "cnn_archs.commands": set(),  # and one line for each file
    "cnn_archs.commands.shared": {"errors"},
    "cnn_archs.commands.runs": {
        *("claims.verdicts", "report.learning_curves", "planning.sweep_cost", "report.text"),
        *("cluster", "commands.shared", "config", "data.folder", "errors", "evaluate.predict"),
        *(
            "evaluate.robustness",
            "evaluate.run",
            "experiment",
            "visualize.pictures",
            "train.grid",
            "train.loop",
        ),
        *("table", "train.sweep"),
    },
    "cnn_archs.commands.cluster": {
        *("cluster.job", "cluster.jobset", "cluster.slurm", "commands.shared", "config", "errors"),
        *("train.grid", "train.loop", "train.sweep"),
    },
    "cnn_archs.commands.networks": {
        *("models.summary", "planning.summary_tables", "commands.shared", "config", "errors"),
        *("experiment", "roles", "weights.export"),
    },
    "cnn_archs.commands.papers": {
        *("claims.verdicts", "report.html", "claims.results_page", "claims.schema"),
        *("commands.shared", "errors"),
    },
    "cnn_archs.commands.data": {
        *(
            "commands.shared",
            "config",
            "data.prepare",
            "errors",
            "experiment",
            "visualize.pictures",
        ),
    },
    "cnn_archs.commands.planning": {
        *("claims.verdicts", "planning.devices", "planning.plan", "planning.plan_text"),
        *(
            "planning.xla_memory",
            "commands.shared",
            "config",
            "data.threads",
            "errors",
            "experiment",
        ),
    },
    "cnn_archs.cli": {"cache", "commands", "errors"},
}
HOLDERS = {  # package -> the only files that may import it
    "orbax": {"cnn_archs/train/checkpoint.py"},
    "tensorflow": {"cnn_archs/data/prepare.py"},
    "tensorflow_datasets": {
        f"cnn_archs/data/{name}.py" for name in ("originals", "prepare", "prepared", "shards")
    },
    "array_record": {"cnn_archs/data/prepared.py", "cnn_archs/data/shards.py"},
    "scipy": {"cnn_archs/report/statistics.py"},
    "simplejpeg": {"cnn_archs/data/decode.py"},
    "tensorboardX": {"cnn_archs/train/logs.py"},
    "matplotlib": {
        "cnn_archs/visualize/figures.py",
        *(f"cnn_archs/report/{name}.py" for name in ("layer_plots", "learning_curves", "scatter")),
        "cnn_archs/report/svg.py",
    },
    "jinja2": {"cnn_archs/report/html.py"},
    "ml_collections": {"cnn_archs/config.py", "cnn_archs/experiment.py", "experiments/base.py"},
    "safetensors": {"cnn_archs/train/weights_file.py"},
    "submitit": {"cnn_archs/cluster/slurm.py"},
    "yaml": {"cnn_archs/cluster/jobset.py"},
    **dict.fromkeys(("torch", "torchvision", "grain", "keras", "pickle", "clu", "hydra"), set()),
}


def imports(source):
    """Every module, or name of a module, that `source` imports, at any depth: dotted."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute here"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            assert isinstance(node.args[0], ast.Constant), "what is imported is written out"
            found.add(node.args[0].value)
    return found


def within(name, rooms):
    """Is dotted `name` one of `rooms`, or inside one?"""
    return any(name == room or name.startswith(f"{room}.") for room in rooms)


def module_of(path):
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def external(path):
    """The packages that a file imports: neither Python's own nor ours."""
    packages = {name.split(".")[0] for name in imports((ROOT / path).read_text())}
    return packages - sys.stdlib_module_names - {"cnn_archs", "experiments"}


def test_an_import_is_found_wherever_it_hides():
    source = """
import a.b
from c import d as e
def f():
    if g:
        from h.i import j
    importlib.import_module("k.l")
"""
    assert imports(source) == {"a.b", "c.d", "h.i.j", "k.l"}
    assert within("train.run.Run", {"train.run"}) and within("train", {"train"})
    assert not within("train.runner", {"train.run"}) and not within("train", {"train.run"})


def test_there_are_files():
    assert len(NAMES) > 30 and "cnn_archs/models/lenet.py" in NAMES


@pytest.mark.parametrize("path", [n for n in NAMES if n.startswith("cnn_archs")])
def test_nothing_imports_what_stands_above_it(path):
    module = module_of(path)
    rooms = [room for room in MAY_IMPORT if within(module, {room})]
    room = max(rooms, key=len)
    assert room != "cnn_archs" or module == "cnn_archs", f"{path} has no line in MAY_IMPORT"
    ours = {name for name in imports((ROOT / path).read_text()) if within(name, {"cnn_archs"})}
    ground = set() if module.removeprefix("cnn_archs.") in GROUND else GROUND
    allowed = {f"cnn_archs.{name}" for name in MAY_IMPORT[room] | ground}
    assert not {name for name in ours if not within(name, allowed)}
    assert not {n for n in imports((ROOT / path).read_text()) if within(n, {"experiments"})}


def test_the_arrows_have_no_circle():
    """In any two rooms, at most one may import the other."""
    for a, of_a in MAY_IMPORT.items():
        for b, of_b in MAY_IMPORT.items():
            if a != b and "cnn_archs" not in (a, b):
                up = within(a, {f"cnn_archs.{n}" for n in of_b})
                down = within(b, {f"cnn_archs.{n}" for n in of_a})
                assert not (up and down), (a, b)


@pytest.mark.parametrize("path", [n for n in NAMES if n.startswith("cnn_archs/models")])
def test_models_know_flax_jax_and_numpy_only(path):
    assert external(path) <= {"flax", "jax", "numpy"}


@pytest.mark.parametrize("path", [n for n in NAMES if n.startswith("experiments")])
def test_experiments_know_ml_collections_and_each_other_only(path):
    found = imports((ROOT / path).read_text())
    assert external(path) <= {"ml_collections"}
    assert not {name for name in found if within(name, {"cnn_archs"})}


@pytest.mark.parametrize("path", [n for n in NAMES if n.startswith("cnn_archs/report/")])
def test_reports_read_files_and_never_touch_a_device(path):
    assert not external(path) & {"jax", "flax", "optax", "orbax"}
    ours = {n for n in imports((ROOT / path).read_text()) if within(n, {"cnn_archs"})}
    allowed = {"config", "errors", "files", "models.vgg", "report", "roles", "run_dir"}
    allowed |= {"sweep_dir", "table"}
    assert not {n for n in ours if not within(n, {f"cnn_archs.{room}" for room in allowed})}


@pytest.mark.parametrize("package", HOLDERS)
def test_a_package_is_imported_only_where_it_belongs(package):
    found = {n for n in NAMES if within_any(imports((ROOT / n).read_text()), package)}
    assert found <= HOLDERS[package]


def within_any(names, package):
    return any(within(name, {package}) for name in names)


def test_launch_is_the_door_to_the_command_line_and_nothing_else():
    assert imports((ROOT / "launch.py").read_text()) == {"sys", "cnn_archs.cli.main"}


COMMANDS = ["cnn_archs/cli.py", *(n for n in NAMES if n.startswith("cnn_archs/commands/"))]


@pytest.mark.parametrize("path", COMMANDS)
def test_the_command_line_answers_without_jax(path):
    """What a command needs is imported inside it: no import at the top reaches jax."""
    tree = ast.parse((ROOT / path).read_text())
    top = ast.Module([n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)], [])
    ours = {n for n in imports(ast.unparse(top)) if n.split(".")[0] not in sys.stdlib_module_names}
    allowed = {"cnn_archs.cache", "cnn_archs.errors", "cnn_archs.commands"}
    assert all(within(name, allowed) for name in ours)

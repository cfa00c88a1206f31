"""Hooks of mkdocs: pages made from the repository's own files, and links that lead out of docs/.

The home page is README.md, `results.md` is RESULTS.md, and `knobs.md` is made from
experiments/base.py and the networks' fields. The page of a paper shows the paper's statements where
it has the line `<!-- statements: KEY -->`; those that wait for a run, with commands and device
hours, at `<!-- missing: KEY -->`; and the header of an experiment, which says what it expects and
where it deviates, at `<!-- experiment: NAME -->`.
"""

import ast
import inspect
import posixpath
import re
import tokenize
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from cnn_archs import models
from cnn_archs.config import base_module
from cnn_archs.config_files import EXPERIMENTS, execute_file
from cnn_archs.config_keys import flatten
from cnn_archs.knobs import describe
from cnn_archs.report.printed_values import read_claims_file
from cnn_archs.report.table import Table

Row = tuple[str, Any, str, str]  # of the table of keys
ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Every key of a config

`--config.KEY=VALUE` sets a key, for every command that takes an experiment. The values below are
the defaults, which an experiment changes. This page is made from
[experiments/base.py](../experiments/base.py)."""
MODEL_HEAD = """## model

`model.name` is one of the networks. The fields of its module are keys of the section `model`; their
meaning and their defaults are in [In Python](library.md#networks)."""
WHOLE_FILES = {"index.md": "README.md", "results.md": "RESULTS.md"}
IMAGES = (".png", ".svg")
LINK = re.compile(r"(\]\()([^)\s]+)(\))")
STATEMENTS = re.compile(r"<!-- statements: (\w+) -->")
MISSING = re.compile(r"<!-- missing: (\w+) -->")
RECIPE = re.compile(r"<!-- experiment: (\w+) -->")
CODE = re.compile(r"(^```.*?^```$|`[^`\n]*`)", re.S | re.M)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and the images of results/ that pages show."""
    for page, source in WHOLE_FILES.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text("utf-8")))
    files.append(File.generated(config, "knobs.md", content=knobs_page()))
    for image in sorted((ROOT / "results").rglob("*")):
        if image.suffix in IMAGES:
            name = image.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(image)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Insert statements of papers and headers of experiments, and make links out of docs/ work."""
    markdown = STATEMENTS.sub(lambda found: statements(found[1]), markdown)
    markdown = MISSING.sub(lambda found: missing(found[1]), markdown)
    markdown = RECIPE.sub(lambda found: recipe(found[1]), markdown)
    name = page.file.src_uri
    source = WHOLE_FILES.get(name, f"docs/{name}")
    parts = CODE.split(markdown)
    parts[::2] = [
        LINK.sub(lambda m: m[1] + link(m[2], source, name, config.repo_url or "") + m[3], prose)
        for prose in parts[::2]
    ]
    return "".join(parts)


def link(target: str, source: str, name: str, repository: str) -> str:
    """Return the target of a link in `source`, which is the page `name`, as the site needs it.

    Raises PluginError if the repository has no such file.
    """
    path, hash_, anchor = target.partition("#")
    if not path or re.match(r"[a-z]+:", path):
        return target
    path = posixpath.normpath(posixpath.join("/", posixpath.dirname(source), path))[1:]
    if not (ROOT / path).exists() and path != "docs/knobs.md":
        raise PluginError(f"{source}: the link {target} leads to {path}, which does not exist")
    for generated, of in WHOLE_FILES.items():
        path = f"docs/{generated}" if path == of else path
    here = posixpath.dirname(name)
    if path.startswith("docs/"):
        return posixpath.relpath(path.removeprefix("docs/"), here or ".") + hash_ + anchor
    if path.startswith("results/") and path.endswith(IMAGES):
        return posixpath.relpath(path, here or ".")
    return f"{repository}/blob/main/{path}{hash_}{anchor}"


def statements(paper: str) -> str:
    """Return RESULTS.md's table of the statements of `paper`, a key of claims.toml.

    Raises PluginError if RESULTS.md has no such section.
    """
    found = section_of(paper, "RESULTS.md")
    if not found:
        raise PluginError(f"RESULTS.md has no section of {paper}")
    return LINK.sub(r"\1/\2\3", found)  # links from the root


def missing(paper: str) -> str:
    """Return the part of docs/missing.md about `paper`: what waits for a run, and what it takes."""
    return section_of(paper, "docs/missing.md") or "No statement waits for a run."


def section_of(paper: str, page: str) -> str:
    """Return the section of `paper`, a key of claims.toml, in a page; "" if it has none."""
    heading = f"## {read_claims_file()['papers'][paper]}\n"
    _, _, rest = (ROOT / page).read_text("utf-8").partition(heading)
    return rest.partition("\n## ")[0].strip()


def recipe(name: str) -> str:
    """Return the header of the experiment `name`, with a link to its file and its arguments.

    Raises PluginError if there is no such experiment.
    """
    path = EXPERIMENTS / f"{name}.py"
    if not path.is_file():
        raise PluginError(f"there is no experiment {name}")
    module = execute_file(path)
    takes = ", ".join(f"`:{a}`" for a in vars(module).get("ARGUMENTS", ()) if a)
    header = inspect.cleandoc(module.__doc__ or "").replace("--config=experiments/", "--config=")
    lines = [f"#### [{name}](/experiments/{name}.py)", f"Arguments: {takes}." if takes else ""]
    return "\n\n".join([*filter(None, lines), f"```text\n{header}\n```"])


def knobs_page() -> str:
    """Return the page that lists each key of a config: its default, its range, its meaning."""
    base = base_module()
    meanings = read_comments(EXPERIMENTS / "base.py")
    kinds, defaults = flatten(base.KINDS), flatten(base.values(base.Settings))
    sections: dict[str, list[Row]] = {"the run": []}
    for key, default in defaults.items():
        rows = sections.setdefault(key.rpartition(".")[0] or "the run", [])
        rows.append((key, default, describe(kinds[key]), meanings[f"Settings.{key}"]))
    parts = [HEAD]
    for section, rows in sections.items():
        parts += [f"## {section}", table(rows)]
    for section, choices in base.CHOICES.items():
        parts += [f"## {section}", sentence(meanings.get(f"Choices.{section}", ""))]
        for name, keys in choices.items():
            where = f"Choices.{section}.{name}"
            parts.append(f"**{section}.name={name}** {meanings.get(where, '')}")
            rows = [
                (
                    f"{section}.{key}",
                    default,
                    describe(base.KINDS_OF_CHOICES[section][name][key]),
                    meanings.get(f"{where}.{key}", ""),
                )
                for key, default in keys.items()
            ]
            parts += [table(rows)] if rows else []
    return "\n\n".join(filter(None, [*parts, *model_parts()])) + "\n"


def model_parts() -> Iterator[str]:
    """Yield the section `model`: for each flax module its networks and its fields."""
    yield MODEL_HEAD
    networks: dict[Any, list[str]] = {}
    for name, constructor in models.MODELS.items():
        module = constructor.func if isinstance(constructor, partial) else constructor
        networks.setdefault(module, []).append(name)
    for module, names in networks.items():
        yield f"### {module.__name__}"
        yield ", ".join(f"`{name}`" for name in names)
        kinds = flatten(models.kinds(names[0]))
        rows = [(f"`model.{key}`", describe(kind)) for key, kind in kinds.items()]
        yield Table(("key", "values"), rows, words=range(2)).markdown()


def table(rows: Sequence[Row]) -> str:
    """Return rows of (key, default, values, meaning) as a Markdown table."""
    heads = ("key", "default", "values", "meaning")
    cells = [(f"`{key}`", f"`{default!r}`", values, text) for key, default, values, text in rows]
    width = 4 if any(text for *_, text in rows) else 3
    return Table(heads[:width], [c[:width] for c in cells], words=range(width)).markdown()


def sentence(text: str) -> str:
    """Return `text` with a capital and a period."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def read_comments(path: Path) -> dict[str, str]:
    """Return {qualified name: comment} for the classes in a file and the names assigned in them.

    The comment begins on the line of the name and may go on in lines of its own.
    """
    with open(path, "rb") as file:
        tokens = [t for t in tokenize.tokenize(file.readline) if t.type == tokenize.COMMENT]
    comments = {t.start[0]: t.string.lstrip("# ") for t in tokens}

    def visit(body: Sequence[ast.stmt], prefix: str, end: int) -> Iterator[tuple[str, str]]:
        for i, node in enumerate(body):
            last = body[i + 1].lineno if i + 1 < len(body) else end
            inner = node.body if isinstance(node, ast.ClassDef) else []
            stop = inner[0].lineno if inner else last
            lines = [comments[n] for n in range(node.lineno, stop) if n in comments]
            yield prefix + assigned_name(node), " ".join(lines)
            yield from visit(inner, f"{prefix}{assigned_name(node)}.", last)

    tree = ast.parse(path.read_text("utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    return dict(visit(classes, "", len(path.read_text("utf-8").splitlines())))


def assigned_name(node: ast.stmt) -> str:
    """Return the name that a statement binds, or "" if it binds none."""
    if isinstance(node, ast.ClassDef):
        return node.name
    targets = node.targets if isinstance(node, ast.Assign) else []
    if isinstance(node, ast.AnnAssign):
        targets = [node.target]
    return targets[0].id if targets and isinstance(targets[0], ast.Name) else ""

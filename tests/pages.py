"""README.md and the pages under docs/: their text, and the commands and programs in them."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
}
CODE = re.compile(r"(?:`(\w+\.py)`:\n\n)?```(sh|python)\n(.*?)```", re.S)


def page(name: str) -> str:
    """Return the text of the page `name` in docs/, such as `papers/vgg`."""
    return PAGES[f"docs/{name}.md"]


def table(text: str, name: str) -> str:
    """Return the table between the comments `name` and `/name` of a page."""
    return text.split(f"<!-- {name} -->\n")[1].split(f"<!-- /{name} -->")[0]


def commands(text: str) -> list[str]:
    """Return the lines of a page's shell blocks, each once, with broken lines joined."""
    blocks = [found[3] for found in CODE.finditer(text) if found[2] == "sh"]
    lines = [line for block in blocks for line in re.sub(r"\\\n *", "", block).splitlines()]
    return list(dict.fromkeys(line.partition("  #")[0].strip() for line in lines))


def programs(text: str) -> dict[str, str]:
    """Return {file: text} of the Python files that a page shows under their names."""
    return {found[1]: found[3] for found in CODE.finditer(text) if found[1]}


def snippets(text: str) -> list[str]:
    """Return a page's Python blocks that are not files."""
    return [f[3] for f in CODE.finditer(text) if f[2] == "python" and not f[1]]

"""The site of docs/: it builds strictly, and its generated pages are whole."""

import re
import subprocess
import sys

import hooks
import pytest
from mkdocs.exceptions import PluginError
from pages import PAGES, ROOT

from cnn_archs import config, models
from cnn_archs.config_keys import flatten
from cnn_archs.report.printed_values import read_claims_file


def test_the_site_builds_and_every_link_leads_somewhere(tmp_path):
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        tmp_path,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    home = (tmp_path / "index.html").read_text()
    assert 'href="sweeps/"' in home and 'src="results/degradation_quick.png"' in home
    assert (tmp_path / "results" / "degradation_quick.png").stat().st_size > 10_000
    resnet = (tmp_path / "papers" / "resnet" / "index.html").read_text()
    assert "8.75 % test error for 20" in resnet and "Table 6" not in resnet.split("<table>")[0]
    assert len(re.findall("<td>(?:exact|function)</td>", resnet)) > 30
    assert "statements wait for" in resnet and "h200 hours" in resnet
    library = (tmp_path / "library" / "index.html").read_text()
    assert all(f'id="cnn_archs.models.{n}"' in library for n in ("lenet.LeNet5", "resnet.ResNet"))


def test_the_page_of_each_paper_has_its_statements_and_what_is_missing():
    for paper in read_claims_file()["papers"]:
        (name,) = [n for n, text in PAGES.items() if f"<!-- missing: {paper} -->" in text]
        assert name.startswith("docs/papers/") and f"<!-- statements: {paper} -->" in PAGES[name]
        assert f"cnn-archs submit --sweep=paper:{paper} " in hooks.missing(paper)
        assert hooks.missing(paper).startswith("| statement | source | printed | h200 hours | ")


def test_each_key_of_a_config_has_its_default_and_its_meaning():
    page = hooks.knobs_page()
    base = config.base_module()
    without_meaning = []
    for key, default in flatten(base.values(base.Settings)).items():
        row = re.search(rf"^\| `{re.escape(key)}` \| `(.*?)` \| .+? \| (.*) \|$", page, re.M)
        assert row and row[1] == repr(default), key
        without_meaning += [] if row[2] else [key]
    assert without_meaning == []
    for section, choices in base.CHOICES.items():
        for name, keys in choices.items():
            assert f"**{section}.name={name}**" in page
            assert all(f"`{section}.{key}`" in page for key in keys)
    assert all(f"`{name}`" in page for name in models.MODELS)


def test_a_comment_goes_on_below_its_name(tmp_path):
    path = tmp_path / "knobs.py"
    path.write_text(
        "class A:  # all\n    x: int = 1  # first,\n             # second\n"
        "    class b:  # inner\n        y = 2\n        # of y\n    z = 3\nOTHER = 1\n"
    )
    found = {"A": "all", "A.x": "first, second", "A.b": "inner", "A.b.y": "of y", "A.z": ""}
    assert hooks.read_comments(path) == found


@pytest.mark.parametrize(
    "target, page, leads_to",
    [
        ("docs/data.md#imagenet", "index.md", "data.md#imagenet"),
        ("../RESULTS.md", "faq.md", "results.md"),
        ("../../README.md#results", "papers/vgg.md", "../index.md#results"),
        ("../results/mnist/mlp_curves.png", "data.md", "results/mnist/mlp_curves.png"),
        ("../../experiments/base.py", "papers/vgg.md", "REPO/blob/main/experiments/base.py"),
        ("https://example.org/x", "data.md", "https://example.org/x"),
        ("#here", "data.md", "#here"),
    ],
)
def test_links_lead_to_pages_to_images_of_the_site_and_to_the_repository(target, page, leads_to):
    source = hooks.WHOLE_FILES.get(page, f"docs/{page}")
    assert hooks.link(target, source, page, "REPO") == leads_to


def test_a_link_to_nowhere_is_refused():
    with pytest.raises(PluginError, match="leads to docs/nowhere.md, which does not exist"):
        hooks.link("nowhere.md", "docs/data.md", "data.md", "REPO")


def test_each_page_is_in_the_navigation():
    nav = (ROOT / "mkdocs.yml").read_text()
    assert all(name.removeprefix("docs/") in nav for name in PAGES if name.startswith("docs/"))

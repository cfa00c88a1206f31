"""The report in a real browser: nothing fails, every picture is there, nothing is too wide."""

import pytest
from browser import PROGRAM, Browser
from fake_sweep import degradation

from cnn_archs import cli

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM, reason="no Chromium here: apt-get install chromium"),
]
PICTURES = """[
    ...[...document.images].map(i => [i.alt, i.complete && i.naturalWidth > 0]),
    ...[...document.querySelectorAll('[role=img] svg')].map(s => {
        const box = s.getBoundingClientRect(), drawn = s.getBBox();
        return [s.parentNode.ariaLabel, box.width > 200 && box.height > 100 && drawn.width > 200
            && s.querySelectorAll('path').length > 5 && s.querySelectorAll('text').length > 5];
    }),
]"""
COLORS = """(() => {
    const style = e => getComputedStyle(e);
    const text = document.querySelector('[role=img] svg text');
    return [style(document.body).backgroundColor, style(text).fill];
})()"""


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    sweep = degradation(folder / "sweep", depths=(20, 56, 110))
    assert cli.main(["report", str(sweep), "-o", str(folder / "report.html")]) == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_the_page_is_whole(browser, path, width, dark):
    browser.open(path, width=width, dark=dark)
    assert not browser.complaints()
    assert [url for url in browser.requests() if not url.startswith("data:")] == [path.as_uri()]
    pictures = browser.value(PICTURES)
    assert len(pictures) == 6 + 14 and not [name for name, shown in pictures if not shown]
    assert browser.value("document.documentElement.scrollWidth") <= width
    inner = browser.value("[...document.querySelectorAll('.scroll')].map(s => s.clientWidth)")
    assert inner and max(inner) <= width  # a table scrolls inside itself
    sizes = browser.value(
        "[...document.querySelectorAll('svg text')].map(t => t.getBoundingClientRect().height)"
    )
    assert min(sizes) >= 9  # pixels: it can be read


def test_dark_is_dark_and_light_is_light(browser, path):
    browser.open(path)
    assert browser.value(COLORS)[0] == "rgb(255, 255, 255)"
    _, ink = browser.value(COLORS)
    browser.open(path, dark=True)
    paper, other = browser.value(COLORS)
    assert paper == "rgb(20, 23, 28)" and ink != other


def test_it_prints_in_light(browser, path, tmp_path):
    browser.open(path, dark=True)
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.value(COLORS)[0] == "rgb(255, 255, 255)"
    browser.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    browser.call("Emulation.setEmulatedMedia", media="")

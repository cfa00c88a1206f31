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


FIRST_CHART = "document.querySelector('[data-chart]')"
ROWS = "[...document.querySelector('table').tBodies[0].rows].map(r => r.cells[0].textContent)"


def click(browser, element):
    browser.value(f"{element}.click()")


def test_a_click_on_a_head_sorts_by_its_column(browser, path):
    browser.open(path)
    heads = "document.querySelector('table').tHead.rows[0].cells"
    by_error = browser.value(ROWS)
    click(browser, f"{heads}[1].firstChild")
    assert browser.value(ROWS) == by_error[::-1]
    assert browser.value(f"[...{heads}].map(h => h.ariaSort).filter(s => s)") == ["descending"]
    click(browser, f"{heads}[0].firstChild")
    assert browser.value(ROWS) == ["plain20", "plain56", "plain110", "resnet20"] + [
        *("resnet56", "resnet110")
    ]
    assert not browser.complaints()


def key(browser, name):
    browser.value(f"{FIRST_CHART}.querySelector('[role=img]').focus()")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key=name)
    browser.call("Input.dispatchKeyEvent", type="keyUp", key=name)


def readout(browser):
    """The lines of the values that are shown: of the x axis, then of each curve."""
    return browser.value(
        f"[...{FIRST_CHART}.querySelector('.readout:not([hidden])')?.children ?? []]"
        ".map(row => row.textContent)"
    )


def test_the_pointer_and_the_arrow_keys_show_values(browser, path):
    browser.open(path, width=1200)
    key(browser, "ArrowLeft")  # the last values
    assert readout(browser)[0] == "iterations 1,500"
    assert "plain56, test 14" in readout(browser)
    key(browser, "ArrowLeft")
    assert readout(browser)[0] == "iterations 1,400"
    key(browser, "Escape")
    assert readout(browser) == []
    box = f"{FIRST_CHART}.querySelector('svg').getBoundingClientRect()"
    browser.value(f"scrollTo(0, scrollY + {box}.top - 50)")
    x, y = browser.value(f"(b => [b.left + 0.9 * b.width, b.top + b.height / 2])({box})")
    browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert readout(browser)[0].startswith("iterations 1,")
    assert not browser.complaints()


def test_zoom_shows_other_limits_and_reset_the_first(browser, path):
    browser.open(path, width=1200)
    labels = f"[...{FIRST_CHART}.querySelectorAll('svg text')].filter(t => t.checkVisibility())"
    labels += ".map(t => t.textContent)"
    curve = f"{FIRST_CHART}.querySelector('[data-curve] path').getBBox().width"
    before, width = browser.value(labels), browser.value(curve)
    key(browser, "+")
    zoomed = browser.value(labels)
    assert zoomed != before and browser.value(curve) == pytest.approx(2 * width, rel=0.02)
    key(browser, "0")
    assert browser.value(labels) == before
    assert browser.value(curve) == pytest.approx(width, rel=0.02)
    key(browser, "-")  # also what the picture cuts off
    assert not browser.complaints()


def test_the_legend_switches_curves(browser, path):
    browser.open(path, width=1200)
    hidden = "document.querySelectorAll('[data-curve][display=none]').length"
    entry = "document.querySelector('.key [data-name=plain20] button')"
    click(browser, entry)
    assert browser.value(f"{entry}.ariaPressed") == "false" and browser.value(hidden) == 6
    key(browser, "ArrowLeft")
    assert not [row for row in readout(browser) if "plain20" in row]
    click(browser, entry)
    assert browser.value(hidden) == 0
    click(browser, "document.querySelector('.key [data-kind=train] button')")
    assert browser.value(hidden) > 0
    key(browser, "ArrowLeft")
    assert not [row for row in readout(browser) if ", train" in row]

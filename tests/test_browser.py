"""Reports in a real browser: in a notebook of either theme, on a phone, and on paper."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess

import pytest

import triconv
from handmade_reports import COARSE, ROWS, report
from triconv.checking.reports import html_report, html_style

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome on the path")

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--virtual-time-budget=3000",
)  # fmt: skip
# what JupyterLab says of tables, code and text in outputs (packages/rendermime/style/base.css), with its colours
JUPYTER = """
.jp-RenderedHTMLCommon { color: var(--font); font-size: 14px; line-height: 1.6; padding-right: 20px; background: var(--page); }
.jp-RenderedHTMLCommon table {
  border-collapse: collapse; border-spacing: 0; border: none; color: var(--font); font-size: 13px; table-layout: fixed;
  margin-left: auto; margin-bottom: 1em; margin-right: auto;
}
.jp-RenderedHTMLCommon thead { border-bottom: 1px solid #888; vertical-align: bottom; }
.jp-RenderedHTMLCommon td, .jp-RenderedHTMLCommon th, .jp-RenderedHTMLCommon tr {
  vertical-align: middle; padding: 0.5em; line-height: normal; white-space: normal; max-width: none; border: none;
}
:not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon td, :not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon th,
:not(.jp-RenderedMarkdown).jp-RenderedHTMLCommon tr { text-align: right; }
.jp-RenderedHTMLCommon th { font-weight: bold; }
.jp-RenderedHTMLCommon tbody tr:nth-child(odd) { background: var(--page); }
.jp-RenderedHTMLCommon tbody tr:nth-child(even) { background: var(--row); }
.jp-RenderedHTMLCommon p { text-align: left; margin: 0px; margin-bottom: 1em; }
.jp-RenderedHTMLCommon pre, .jp-RenderedHTMLCommon code {
  border: 0; background-color: var(--page); color: var(--font); font-size: inherit; padding: 0; white-space: pre-wrap;
}
[data-jp-theme-light="true"] { --page: #ffffff; --row: #f5f5f5; --font: rgba(0, 0, 0, 0.87); }
[data-jp-theme-light="false"] { --page: #111111; --row: #212121; --font: rgba(255, 255, 255, 1); }
"""
# of each report: where the cells of its tables are, how their words are aligned, and each colour with the one behind it
MEASURE = """
const ground = e => { for (; e; e = e.parentElement) {
  const c = getComputedStyle(e).backgroundColor; if (c !== "rgba(0, 0, 0, 0)") return c; } return "rgb(255, 255, 255)"; };
const measured = root => ({
  cells: [...root.querySelectorAll("tbody tr")].map(row => [...row.children].map(cell => {
    const box = cell.getBoundingClientRect(), style = getComputedStyle(cell);
    return [Math.round(box.left), Math.round(box.width), style.textAlign, style.verticalAlign]; })),
  colours: [...root.querySelectorAll("p, b, th, td, caption, h2, pre, summary, figcaption, li")].map(e =>
    [getComputedStyle(e).color, ground(e), e.tagName + "." + e.className]),
  numbers: [...root.querySelectorAll(".cells text")].map(e =>
    [getComputedStyle(e).fill, getComputedStyle(e.previousElementSibling).fill, e.textContent]),
  legends: [...root.querySelectorAll("svg > text")].map(e => [getComputedStyle(e).fill, ground(e), e.textContent]),
  pictures: [...root.querySelectorAll("svg")].map(e => e.getBoundingClientRect().width),
  programs: [...root.querySelectorAll("pre")].map(e => e.textContent),
});
const told = { light: measured(document.querySelector("#light")), dark: measured(document.querySelector("#dark")) };
for (const frame of document.querySelectorAll("iframe")) {
  const page = frame.contentDocument;
  told[frame.id] = { width: page.documentElement.scrollWidth, buttons: page.querySelectorAll(".copy:not([hidden])").length };
}
document.body.textContent = JSON.stringify(told);
"""


def run(folder, *flags):
    command = [BROWSER, *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What the browser measures of a report in a notebook of either theme, and of pages as narrow as a phone."""
    folder, made = tmp_path_factory.mktemp("browser"), report(*ROWS)
    part = html_report.fragment(made).replace("<details>", "<details open>")
    notebooks = "".join(
        f'<div data-jp-theme-light="{light}"><div class="jp-RenderedHTMLCommon jp-RenderedHTML" id="{name}" '
        f'style="width: 900px">{part}</div></div>'
        for name, light in (("light", "true"), ("dark", "false"))
    )
    frames = "".join(
        f'<iframe id="phone{n}" width="360" height="900" srcdoc="{html.escape(html_report.page(one))}"></iframe>'
        for n, one in enumerate((made, report(COARSE)))
    )
    page = f"<!doctype html><style>{JUPYTER}</style>{notebooks}{frames}<script>onload = () => {{ {MEASURE} }}</script>"
    (folder / "page.html").write_text(page, encoding="utf-8")
    dumped = run(folder, "--window-size=1280,900", "--dump-dom", (folder / "page.html").as_uri())
    return json.loads(html.unescape(re.search(r"<body[^>]*>(\{.*\})</body>", dumped, re.DOTALL)[1]))


def hexadecimal(colour):
    return "#{:02x}{:02x}{:02x}".format(*map(int, re.findall(r"\d+", colour)[:3]))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_notebook_keeps_columns_and_colours(seen, theme):
    found = seen[theme]
    assert len(found["cells"]) == len(ROWS)
    for failed in (found["cells"][:5], found["cells"][5:]):
        lefts = {tuple(left for left, _, _, _ in row) for row in failed}
        assert len(lefts) == 1  # columns begin at one place
        question, verdict, proof, error, detail = (width for _, width, _, _ in failed[0])
        assert detail > 2 * max(verdict, proof, error)  # not equal ones: words have room
        assert question > verdict
        for row in failed:
            assert [align for _, _, align, _ in row] == ["left", "left", "left", "right", "left"]
            assert {vertical for _, _, _, vertical in row} == {"top"}
    assert [width > 100 for width in found["pictures"]] == [True] * 3
    assert len(found["programs"]) == 1
    assert len(found["numbers"]) == 36
    for kind in ("colours", "numbers", "legends"):
        for ink, ground, words in found[kind]:
            assert html_style.contrast(hexadecimal(ink), hexadecimal(ground)) >= 4.5, (kind, words, ink, ground)
    grounds = {ground for _, ground, _ in found["colours"]}
    paper = {"light": html_style.LIGHT_WORDS, "dark": html_style.DARK_WORDS}[theme]
    assert {hexadecimal(ground) for ground in grounds} == {paper["paper"], paper["shade"]}


def test_a_phone_scrolls_in_one_direction(seen):
    assert seen["phone0"]["width"] <= 360
    assert seen["phone1"]["width"] <= 360
    assert (seen["phone0"]["buttons"], seen["phone1"]["buttons"]) == (1, 1)


def test_a_wrong_report_has_at_most_three_pages(tmp_path):
    def backward(g, cache):
        x, w = cache
        _, pullback = triconv.vjp(triconv.conv2d, x, w, stride=2)
        gx, gw = pullback(g)
        return gx[..., ::-1], gw / len(x)

    def forward(x, w):
        return triconv.conv2d(x, w, stride=2), (x, w)

    made = triconv.check((forward, backward), triconv.conv2d, (2, 3, 8, 8), (4, 3, 3, 3), stride=2)
    assert made.verdict == "wrong"
    made.to_html(tmp_path / "r.html")
    run(tmp_path, f"--print-to-pdf={tmp_path / 'r.pdf'}", "--no-pdf-header-footer", (tmp_path / "r.html").as_uri())
    pages = len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "r.pdf").read_bytes()))
    assert 1 <= pages <= 3
    assert (tmp_path / "r.html").stat().st_size < 100_000

"""The page in a browser (chromium and chromedriver): labels, filters, copying, themes, narrow screens; no error."""

import shlex
import shutil
import time

import pytest
from helpers.synthetic import write_sweep
from hydra.core.override_parser.overrides_parser import OverridesParser

from wsn.comparison.page import write_page
from wsn.comparison.runs import find_runs
from wsn.comparison.summary import Comparison

BINARIES = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
MISSING = ", ".join(name for name, path in BINARIES.items() if path is None)

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING} (apt install chromium chromium-driver)"),
    pytest.mark.xdist_group("browser"),
]

TEXT = "const box = document.getElementById('ID'); return box.hidden ? '' : box.innerText"


@pytest.fixture(scope="module")
def driver():
    webdriver = pytest.importorskip("selenium.webdriver", reason="not installed: selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = BINARIES["chromium"]
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(BINARIES["chromedriver"]))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep it's")  # a name that a shell must see quoted
    write_sweep(folder, ["ofa", "bignas", "spos"], seeds=2, subnets=8, alone=3)
    write_page(Comparison(*find_runs([folder])), folder / "report.html")
    return folder


@pytest.fixture
def page(driver, folder):
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.get((folder / "report.html").as_uri())
    driver.execute_script("localStorage.clear(); delete document.documentElement.dataset.theme; redraw()")
    yield driver
    assert errors(driver) == []


def errors(driver):
    return [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]


def wait_for(driver, script):
    for _ in range(100):
        found = driver.execute_script(script)
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"never true: {script}")


def point_at_member(driver, label):
    """Move the pointer to the cheapest member of a method's first front; return its run, id and quality."""
    found = driver.execute_script(
        """
        const plot = document.getElementById("plot-fronts"), m = D.methods.indexOf(arguments[0]);
        plot.scrollIntoView({ block: "center" });
        const run = D.runs.find((r) => r.m === m), i = run.fronts.macs[0], box = plot.getBoundingClientRect();
        const { xaxis: x, yaxis: y } = plot._fullLayout, cost = costOf(run, i, "macs");
        const at = [box.x + x._offset + x.d2p(cost), box.y + y._offset + y.d2p(run.q[i])];
        return [...at, run.run, D.subnets.id[run.s[i]], run.q[i]];
        """,
        label,
    )
    for shift in (-30, 0):
        mouse(driver, "mouseMoved", found[0] + shift, found[1])
        time.sleep(0.1)
    return found


def mouse(driver, kind, x, y):
    button = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
    driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, **button})


def traces(driver):
    return driver.execute_script("return [...new Set(document.getElementById('plot-fronts').data.map(t => t.name))]")


def test_the_label_of_a_subnet_and_the_command_that_a_click_copies(page, folder):
    x, y, run, id_, quality = point_at_member(page, "ofa")
    text = wait_for(page, TEXT.replace("ID", "tip"))
    assert f"ofa · {id_}" in text
    assert f"{quality:.2f} %" in text
    assert all(word in text for word in ("MACs", "params", "depth", "kernel", "expand", "resolution", run))
    for kind in ("mousePressed", "mouseReleased"):
        mouse(page, kind, x, y)
    toast = wait_for(
        page, "const t = document.getElementById('toast'); return t.hidden ? null : t.innerText.split('\\n')"
    )
    words = shlex.split(toast[-1])
    assert words[:2] == ["wsn", "export"]
    assert words[2] == "run='" + run.replace("'", "\\'") + "'"
    assert words[3].strip('"').replace("'", "") == f"subnet={id_}"


def test_ids_that_look_like_numbers_reach_hydra_as_text(page):
    for id_ in ("0a1b2c3d4e", "1234567890", "0123456789", "12e4567890", "123456789e"):
        [word] = shlex.split(page.execute_script("return argument(arguments[0])", id_))
        assert OverridesParser.create().parse_overrides([word])[0].value() == id_


@pytest.mark.slow
def test_copying_without_permission_falls_back(page):
    page.execute_script(
        "const value = { writeText: () => Promise.reject() };"
        "Object.defineProperty(navigator, 'clipboard', { configurable: true, value });"
        "window.used = 0; document.execCommand = () => { window.used += 1; return false; }; copy('wsn export x')"
    )
    text = wait_for(page, TEXT.replace("ID", "toast"))
    assert text.split() == ["Copy", "this", "wsn", "export", "x"]
    assert page.execute_script("return window.used") == 1


def test_filters_hide_methods_seeds_and_runs(page):
    assert {"ofa", "bignas", "spos", "trained alone"} <= set(traces(page))
    chip = page.find_element("css selector", '.chip[data-method="ofa"]')
    chip.click()
    assert "ofa" not in traces(page)
    assert chip.get_attribute("aria-pressed") == "false"
    row = page.find_element("css selector", '#table-methods tr[data-method="ofa"]')
    assert not row.is_displayed()
    chip.click()
    assert "ofa" in traces(page)
    page.find_element("id", "text").send_keys("spos _1")
    wait_for(page, "return document.getElementById('count').textContent === '1 of 6 runs'")
    assert set(traces(page)) == {"spos", "trained alone"}
    page.find_element("id", "none").click()
    assert traces(page) == ["trained alone"]


def test_switches_of_the_fronts(page):
    kinds = "return document.getElementById('plot-fronts').data.map(t => [t.name, t.mode, t.fill ?? ''])"
    before = page.execute_script(kinds)
    page.find_element("id", "dominated").click()
    assert [t for t in page.execute_script(kinds) if t[:2] == ["ofa", "markers"]] == []
    page.find_element("id", "mean").click()
    assert sum(t[2] == "tonexty" for t in page.execute_script(kinds)) == 3
    assert not any(t[2] == "tonexty" for t in before)
    page.execute_script("document.querySelector('#axis input[value=params]').click()")
    title = "return document.getElementById('plot-fronts')._fullLayout.xaxis.title.text"
    assert page.execute_script(title) == "parameters (millions)"
    kind = "return document.getElementById('plot-fronts')._fullLayout.xaxis.type"
    first = page.execute_script(kind)
    page.find_element("id", "log").click()
    assert {first, page.execute_script(kind)} == {"log", "linear"}


def test_tables_sort_and_configs_are_searched(page):
    values = "[...document.querySelectorAll('#table-methods tbody tr')].map(r => parseFloat(r.cells[2].textContent))"
    ordered = f"return {values}.every((v, i, all) => !i || all[i - 1] <= v)"
    head = page.find_element("css selector", "#table-methods th:nth-child(3) button")
    head.click()
    wait_for(page, ordered)
    head.send_keys("\n")  # from the keyboard, the other way
    wait_for(page, ordered.replace("<=", ">="))
    page.find_element("id", "keys").send_keys("label labels")
    keys = "[...document.querySelectorAll('#table-config tbody tr:not([hidden])')].map(row => row.cells[0].textContent)"
    wait_for(page, f"return {keys}.join() === 'method.losses.random.labels'")


def test_themes(page):
    back = "return getComputedStyle(document.body).backgroundColor"
    font = "return document.getElementById('plot-fronts').layout.font.color"
    light = page.execute_script(back), page.execute_script(font)
    page.find_element("id", "theme").click()
    dark = page.execute_script(back), page.execute_script(font)
    assert light == ("rgb(255, 255, 255)", "rgb(27, 30, 35)")
    assert dark == ("rgb(20, 22, 26)", "rgb(228, 230, 234)")
    assert page.find_element("id", "theme").text == "Light"
    page.refresh()
    assert page.execute_script(back) == dark[0]  # remembered


@pytest.mark.slow
def test_the_systems_theme_is_taken(page):
    emulate = {"media": "", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", emulate)
    try:
        wait_for(page, "return document.getElementById('plot-fronts').layout.font.color === 'rgb(228, 230, 234)'")
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_a_narrow_screen_has_no_horizontal_scroll(page):
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wait_for(page, "return innerWidth === 400 && document.documentElement.scrollWidth <= 400")
    ends = "[...document.querySelectorAll('.plot .main-svg')].map(svg => svg.getBoundingClientRect().right)"
    wait_for(page, f"return Math.max(...{ends}) <= 400")


@pytest.mark.slow
def test_many_subnets(driver, tmp_path):
    write_sweep(tmp_path, ["ofa", "spos"], seeds=3, subnets=900, alone=0)
    write_page(Comparison(*find_runs([tmp_path])), tmp_path / "report.html")
    driver.get((tmp_path / "report.html").as_uri())
    types = "return [...new Set(document.getElementById('plot-fronts').data.map(t => t.type))].sort()"
    wanted = ["scatter", "scattergl"] if driver.execute_script("return webgl()") else ["scatter"]
    assert driver.execute_script(types) == wanted
    driver.execute_script("webgl.known = false; update()")
    assert driver.execute_script(types) == ["scatter"]
    assert driver.find_element("id", "thinned").text == ""  # 5,400 still are drawn one by one
    assert errors(driver) == []

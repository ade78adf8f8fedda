"""The report says what the numbers say, and shows it in any browser without a network."""

import os
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright
from test_results import finish, study_of

from ebm.study import figures
from ebm.study.columns import COLLAPSED
from ebm.study.report import cell, number, probability, write_report
from ebm.study.results import collect
from ebm.study.statistics import interval
from ebm.study.store import write_text

SECTIONS = ["question", "results", "tests", "curves", "spectra", "codes", "reproduce"]
ARMS = ["control", "<b>x</b>", "third", "fourth", "fifth", "sixth", "seventh", "eighth"]
COMMAND = "ebm study report nowhere/study.yaml --results '<here>'"
# Nothing that would reach for a network, a keyring or a graphics card.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def write_study(folder, arms=ARMS, seeds=(0, 1, 2)):
    """A report on invented runs: the control has collapsed, and arm `i` is better than arm `i - 1`."""
    study = study_of(arms, seeds, "Which <i>arm</i> & why?</script>")
    for run in study.runs:
        i = arms.index(run.arm)
        noise = np.random.default_rng([i, run.seed])
        size = 1e-6 if i == 0 else 1.0
        codes = 3 + size * noise.normal(size=(40, 6))
        metrics = {
            "probe/linear": 0.5 + 0.05 * i + 0.004 * noise.normal(),
            "code/std": size * (1 + 0.01 * noise.normal()),
            "code/effective_rank": (102.3, 9.5, 30.1, 8.5, 77.0, 5.0, 61.0, 12.0)[i] + 0.01 * noise.normal(),
            "code/auroc": 0.5 if i == 0 else 0.9,
        }
        finish(run, folder, metrics, {"code": codes})
    return study


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    study = write_study(folder)
    return write_report(study, folder, folder / "out" / "report.html", COMMAND)


@pytest.fixture(scope="module")
def browser():
    found = [path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))]
    if not found and "EBM_REQUIRE_BROWSER" not in os.environ:
        pytest.skip("there is no Chromium to look at the report with")
    assert found, "EBM_REQUIRE_BROWSER is set, but there is no Chromium to look at the report with"
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=found[0], args=list(FLAGS))
        yield running
        running.close()


@pytest.fixture
def page(browser, written):
    """The report in a window, with what went wrong and what was asked for on the way."""
    opened = browser.new_page(viewport={"width": 1600, "height": 1000}, color_scheme="light")
    opened.troubles, opened.requests = [], []
    opened.on("console", lambda message: opened.troubles.append(message.text))
    opened.on("pageerror", lambda error: opened.troubles.append(str(error)))
    opened.on("request", lambda request: opened.requests.append(request.url))
    opened.goto(written.as_uri())
    until(opened, "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('.xy'))")
    yield opened
    opened.close()


def until(page, condition):
    """Wait for it; not by wait_for_function, which evaluates text and so is what the page's own policy forbids."""
    deadline = time.monotonic() + 20
    while not page.evaluate(condition):
        assert time.monotonic() < deadline, f"after 20 s still not: {condition}"
        page.wait_for_timeout(50)


def column(page, number):
    """The texts of a column of the first table, as they stand."""
    rows = page.locator("#results table").first.locator("tbody tr")
    return rows.evaluate_all("(rows, at) => rows.map(row => row.cells[at].innerText)", number)


def test_the_page_loads_from_a_file_without_an_error_or_a_request(page, written):
    assert page.troubles == []
    assert page.requests == [written.as_uri()]
    assert written.stat().st_size < 10e6


def test_no_button_offers_to_send_the_data_anywhere(page):
    buttons = page.locator(".modebar-btn")
    assert set(buttons.evaluate_all("all => all.map(button => button.dataset.title)")) == {
        "Download plot",
        "Reset axes",
    }
    policy = page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy.startswith("default-src 'none';")
    assert "form-action 'none'" in policy


def test_every_section_is_there_and_in_order(page):
    assert page.locator("section").evaluate_all("found => found.map(section => section.id)") == SECTIONS
    assert page.locator("h1").count() == 1
    for name in SECTIONS[1:]:
        assert page.locator(f"#{name} h2").count() == 1


def test_every_figure_is_drawn_named_and_captioned(page):
    plots = page.locator(".plot")
    assert plots.count() == 2 + 1 + 2 + len(ARMS)
    for box in plots.locator(".main-svg").evaluate_all("all => all.map(svg => svg.getBoundingClientRect())"):
        assert box["width"] > 100
        assert box["height"] > 100
    assert all(plots.evaluate_all("all => all.map(plot => plot.getAttribute('aria-label').length > 20)"))
    assert page.locator("figure").count() == page.locator("figure > figcaption").count() == 4


def test_curves_and_spectra_have_a_line_for_each_arm(page):
    for name, plots in (("curves", 1), ("spectra", 2)):
        lines = page.locator(f"#{name} .plot .js-line")
        drawn = lines.evaluate_all("all => all.filter(line => line.getBBox().width > 0).length")
        assert drawn >= plots * len(ARMS)
    assert page.locator("#codes .plot").first.locator(".point").count() == 40


def test_a_head_sorts_its_column_by_number_up_and_then_down(page):
    heads = page.locator("#results table >> nth=0 >> th[data-column]")
    rank = [head.strip() for head in heads.all_inner_texts()].index("effective rank")
    for expected in ("ascending", "descending"):
        heads.nth(rank).locator("button").click()
        shown = [float(text.split()[0]) for text in column(page, rank)]
        assert heads.nth(rank).get_attribute("aria-sort") == expected
        assert shown == sorted([102.3, 9.5, 30.1, 8.5, 77.0, 5.0, 61.0, 12.0], reverse=expected == "descending")


def test_the_keyboard_sorts_too_and_only_one_column_says_that_it_is_sorted(page):
    heads = page.locator("#results table >> nth=0 >> th[data-column]")
    heads.nth(1).locator("button").press("Enter")
    heads.nth(0).locator("button").press("Space")
    assert column(page, 0) == sorted(ARMS, key=str.casefold)
    assert page.locator("[aria-sort]").count() == 1


def test_a_narrow_window_scrolls_no_way_but_down(page):
    page.set_viewport_size({"width": 390, "height": 844})
    until(page, "[...document.querySelectorAll('.main-svg')].every(s => s.getBoundingClientRect().width < 391)")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 390
    table = page.locator(".scroll").first
    assert table.evaluate("box => box.scrollWidth > box.clientWidth")


def test_the_page_and_its_figures_follow_a_change_to_a_dark_scheme(page):
    look = "[getComputedStyle(document.body).backgroundColor, document.querySelector('.main-svg').style.background]"
    light = page.evaluate(look)
    page.emulate_media(color_scheme="dark")
    until(page, f"({look})[1] != '{light[1]}'")
    dark = page.evaluate(look)
    assert light[0] == light[1] == "rgb(255, 255, 255)"
    assert dark[0] == dark[1] == "rgb(21, 24, 28)"


def test_a_choice_changes_the_figure_and_a_press_on_an_arm_hides_its_lines(page):
    title = page.locator("#curves .gtitle")
    assert title.text_content() == "Linear-probe accuracy, %"
    page.locator("#curves select").select_option("loss/total")
    assert title.text_content() == "Loss"
    lines = page.locator("#curves .plot .js-line")
    before = lines.count()
    page.locator("#curves .legend button").nth(1).click()
    assert lines.count() < before
    assert page.locator(".legend button[aria-pressed=false]").count() == 2  # in both legends


def test_what_users_write_is_shown_and_not_run(page):
    assert page.locator("h1").inner_text() == "Which <i>arm</i> & why?</script>"
    assert page.locator("main b, main i").count() == 0
    assert page.locator("#codes h3").nth(1).inner_text() == "<b>x</b>"
    assert "<b>x</b>" in page.locator("#results .ytick").all_text_contents()
    assert page.locator("#reproduce .command").inner_text() == COMMAND


def test_the_answer_names_the_best_arm_the_runner_up_and_what_collapsed(page):
    text = page.locator(".answer").inner_text()
    assert text.startswith("eighth has the highest mean linear-probe accuracy, 8")
    verdict = re.search(r"runner-up, seventh, \d\.\d percentage points, is (not )?significant .* p = (\S+) after", text)
    assert (float(verdict[2]) >= 0.05) == (verdict[1] is not None)
    assert re.search(r"Signs of collapse \(.*\): control\.", text)


def test_of_a_study_of_losses_the_lowest_is_best(tmp_path):
    study = replace(write_study(tmp_path, ["a", "b"]), goal="minimize")
    html = write_report(study, tmp_path, tmp_path / "r.html", "").read_text()
    assert "a has the lowest mean linear-probe accuracy, 50." in html


def test_a_partial_study_is_reported_and_says_what_is_missing(tmp_path):
    study = write_study(tmp_path, ["control", "b"])
    for run in study.runs[:2]:
        shutil.rmtree(run.folder(tmp_path).path)
    write_text(study.runs[0].folder(tmp_path).failure, "OSError: no <space> left\n")
    html = write_report(study, tmp_path, tmp_path / "r.html", "").read_text()
    assert "Partial: 4 of 6 runs are finished (1 failed, 1 waiting)" in html
    assert "OSError: no &lt;space&gt; left" in html
    assert "1 of 3 seeds" in html
    assert "not testable: 1 seed in common" in html


def test_a_study_without_its_control_without_history_and_of_one_seed_is_reported(tmp_path):
    study = study_of(["control", "b", "c"], [0])
    for run in study.runs[1:]:
        finish(
            run, tmp_path, codes={"code": np.zeros((40, 1)), "representation": np.full((40, 3), np.inf)}, history=False
        )
    html = write_report(study, tmp_path, tmp_path / "r.html", "").read_text()
    assert "No run of the control, control, is finished" in html
    assert "The runs have left no history" in html
    assert "There is one seed alone" in html


def test_runs_made_with_different_versions_are_flagged(tmp_path):
    study = study_of(["a"], [0, 1])
    finish(study.runs[0], tmp_path)
    finish(study.runs[1], tmp_path, versions={"ebm-lab": "0.2.0", "python": "3.12.1"}, steps=30)
    html = write_report(study, tmp_path, tmp_path / "r.html", "").read_text()
    assert "Not all runs were made with the same ebm-lab" in html
    assert "0.1.0 or 0.2.0 <strong>(differs between runs)" in html
    assert "not trained" not in html
    assert "Not all runs were trained for the same number of steps." in html


def test_a_metric_that_no_run_reports_is_refused(tmp_path):
    study = replace(write_study(tmp_path, ["a"], [0]), metric="probe/linaer")
    with pytest.raises(ValueError, match=r"'probe/linaer', which no finished run reports: name one of probe/linear"):
        write_report(study, tmp_path, tmp_path / "r.html", "")
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [(0.12345, 3, "0.123"), (-2.5, 1, "\u22122.5"), (3.3e-4, 3, "3.3e\u22124"), (3e-4, 1, "0.0"), (0.0, 3, "0.000")],
)
def test_numbers_keep_their_decimals_unless_nothing_would_be_left(value, decimals, text):
    assert number(value, decimals) == text


def test_what_is_not_a_number_is_a_dash_and_is_sorted_last():
    assert number(float("nan")) == probability(float("nan")) == "\u2013"
    assert cell(interval([]), "code/std") == ("\u2013", "", "")


def test_accuracies_are_shown_in_per_cent_with_their_interval():
    shown = cell(interval([0.5, 0.7]), "probe/knn")
    assert (shown.mean, shown.half, float(shown.sort)) == ("60.0", "\u00b1 127.1", 60.0)


def test_a_point_away_from_the_origin_looks_like_a_point_and_a_spread_code_does_not():
    noise = np.random.default_rng(0).normal(size=(50, 8))
    assert np.abs(figures.projected(3 + 1e-6 * noise)).max() < 1e-5
    assert np.abs(figures.projected(noise)).max() > 0.3


def test_a_projection_keeps_the_distances_of_codes_in_a_plane():
    plane = np.random.default_rng(0).normal(size=(20, 2))
    codes = plane @ np.linalg.qr(np.random.default_rng(1).normal(size=(5, 5)))[0][:2] + 1
    size = np.sqrt(np.square(codes).sum(1).mean())
    shown = figures.projected(codes)
    between = np.linalg.norm(shown[:, None] - shown[None], axis=-1)
    np.testing.assert_allclose(between, np.linalg.norm(plane[:, None] - plane[None], axis=-1) / size, atol=1e-12)


@pytest.mark.parametrize("codes", [np.full((5, 3), 2.0), np.full((5, 3), np.nan), np.zeros((5, 1)), np.ones((1, 4))])
def test_codes_that_do_not_spread_are_drawn_at_the_centre(codes):
    assert (figures.projected(codes) == 0).all()


def test_no_two_of_32_arms_are_drawn_alike_and_an_arm_is_drawn_alike_wherever_it_stands():
    names = [str(i) for i in range(32)]
    assert len(set(figures.styles(names).values())) == 32
    assert figures.styles(names)["3"] == figures.styles(names[:4])["3"]


def test_long_curves_are_thinned_and_keep_their_ends(tmp_path):
    study = study_of(["a"], [0])
    finish(study.runs[0], tmp_path, history=False)
    for step in range(1000):
        study.runs[0].folder(tmp_path).append({"step": step, "probe/linear": 0.5})
    figure = figures.curves(collect(study, tmp_path), figures.styles(["a"]), "probe/linear")
    steps = figure.data[-1].x
    assert (len(steps), steps[0], steps[-1]) == (figures.POINTS, 0, 999)


def luminance(color):
    """Relative luminance, as WCAG 2 defines it."""
    channels = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_every_colour_of_an_arm_stands_out_from_the_page_in_both_schemes():
    style = (Path(figures.__file__).parent / "report.css").read_text()
    for scheme in style.split("@media (prefers-color-scheme: dark)"):
        page = luminance(re.search(r"--surface: (#\w+)", scheme).group(1).ljust(7, "f"))
        colors = re.findall(r"--arm-\d: (#\w{6});", scheme)
        assert len(set(colors)) == figures.COLORS
        for light in map(luminance, colors):
            assert (max(page, light) + 0.05) / (min(page, light) + 0.05) >= 3


def test_thresholds_of_collapse_name_metrics_that_readers_know():
    assert set(COLLAPSED) <= set(figures.NAMES)

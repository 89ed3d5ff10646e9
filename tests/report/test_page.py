"""The report's page: what it shows, that it escapes data, and how Chromium takes it."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from supercm_pl.cli.commands.report import report
from supercm_pl.report import read_run, render_report
from tests.support.chromium import Opened, started, why_not
from tests.support.recorded import EVIL, run_folder, snapshot

pytest.importorskip("plotly", reason="the report's page needs Plotly")


class Elements(HTMLParser):
    """Tags with their attributes, and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._skipped = False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._skipped = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._skipped = False

    def handle_data(self, data):
        self.text += "" if self._skipped else data

    def named(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.tags if tag == name]


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    runs = [run_folder(folder / "plain"), run_folder(folder / "heavy", weight=2.0)]
    page = folder / "report.html"
    report([*map(str, runs), "--output", str(page)])
    return page


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A run whose every text is a script."""
    folder = tmp_path_factory.mktemp("runs") / "<img src=x onerror=alert(2)>"
    text = EVIL.replace("/", "\\/")
    names = (EVIL, f"{EVIL}$\\alpha$", "%{x}<b>")
    run = run_folder(folder, (100, 200), classes=names, domain_names=[EVIL])
    (run / "config.yaml").write_text(f"model:\n  note: '{EVIL}'\n  '{text}': 1\n")
    (run / "metrics.csv").write_text(f"step,val/{EVIL}\n1,0.5\n2,0.75\n")
    page = folder.parent / "report.html"
    page.write_text(render_report([read_run(run)]), encoding="utf-8")
    return page


def test_numbers_differences_and_configurations_of_all_runs_are_there(two_runs):
    text = Elements(two_runs.read_text(encoding="utf-8")).text
    for expected in ("test/acc", "0.6250", "0.7500", "labeled samples"):
        assert expected in text
    assert "model.init_args.cm_weight" in text
    assert "model.class_path" not in text
    assert text.count("class_path: supercm_pl.SSLModule") == 2
    assert "ant taken for bee, 0.75" in text


def test_mistakes_are_images_in_the_page(two_runs):
    images = Elements(two_runs.read_text(encoding="utf-8")).named("img")
    assert len(images) == 4
    assert all(image["src"].startswith("data:image/png;base64,") for image in images)


def test_nothing_in_the_page_is_to_be_fetched(two_runs):
    page = Elements(two_runs.read_text(encoding="utf-8"))
    assert not [a for a in page.named("script") if "src" in a]
    assert [a["href"] for a in page.named("link")] == ["data:,"]
    (policy,) = [a["content"] for a in page.named("meta") if "http-equiv" in a]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-inline" not in policy.partition("style-src")[0]


def test_a_run_without_a_checkpoint_says_so(tmp_path, capsys):
    run = run_folder(tmp_path / "run", steps=())
    report([str(run), "--output", str(tmp_path / "report.html")])
    page = Elements((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert f"The model was not evaluated: there is no checkpoint in {run}" in page.text
    assert "0.6250" in page.text


def test_an_empty_run_is_a_page_that_says_so(tmp_path):
    run = run_folder(
        tmp_path / "run",
        steps=(100,),
        images=np.zeros((0, 1, 1, 1), dtype=np.uint8),
        mistaken=np.zeros((0, 4), dtype=np.int64),
        mistake_confidence=np.zeros(0, np.float32),
    )
    for name in ("metrics.csv", "split.json"):
        (run / name).unlink()
    page = Elements(render_report([read_run(run)]))
    assert "No metric was logged" in page.text
    assert "No mistake was recorded" in page.text
    with pytest.raises(ValueError, match="at least one entry, got none"):
        render_report([])


def test_a_curve_that_one_run_lacks_is_drawn_of_the_other(tmp_path):
    runs = [run_folder(tmp_path / name) for name in ("first", "second")]
    text = (runs[1] / "metrics.csv").read_text()
    (runs[1] / "metrics.csv").write_text(text.replace("val/acc", "val/other"))
    html = render_report([read_run(run) for run in runs])
    assert "val/acc" in html
    assert "val/other" in html


def test_a_metric_that_never_changes_has_no_panel(tmp_path):
    run = run_folder(tmp_path / "run")
    (run / "metrics.csv").write_text("step,train/trust,val/loss\n1,0.5,2\n2,0.5,1\n")
    html = render_report([read_run(run)])
    assert "val/loss" in html
    assert "train/trust" not in html


def test_names_from_data_are_text(evil):
    page = evil.read_text(encoding="utf-8")
    elements = Elements(page)
    assert EVIL in elements.text
    assert "onerror" not in str(elements.tags)
    # Plotly's own scripts hold no data but as JSON, where a `<` is written otherwise.
    assert not re.search(r"<\s*/?\s*script[^>]*>\s*alert", page)


in_chromium = pytest.mark.skipif(bool(why_not()), reason=why_not() or "Chromium is there")


@pytest.fixture(scope="module")
def browser():
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def seen(browser, two_runs):
    page = Opened(browser, two_runs)
    page.page.wait_for_selector("#chart-2 .scatterlayer .point")
    return page


def hovered(page) -> str:
    point = page.locator("#chart-1 .scatterlayer .point").first
    point.scroll_into_view_if_needed()
    point.hover(force=True)
    return page.wait_for_selector("#chart-1 .hovertext").text_content()


@in_chromium
def test_it_renders_fetches_nothing_and_complains_of_nothing(seen, two_runs):
    page = seen.page
    page.wait_for_selector("#chart-4 .heatmaplayer image")
    assert page.locator(".js-plotly-plot").count() == 5
    assert page.locator("#chart-0 .scatterlayer .trace").count() == 2
    assert page.locator("#chart-1 .scatterlayer .point").count() == 33
    # Side by side: no chart is cut off, or lies over its neighbor.
    boxes = [page.locator(f"#chart-{n} .main-svg").first.bounding_box() for n in (1, 2)]
    assert boxes[0]["x"] + boxes[0]["width"] <= boxes[1]["x"]
    assert boxes[1]["x"] + boxes[1]["width"] <= 1400
    assert seen.requests == [two_runs.resolve().as_uri()]
    assert seen.complaints == []


@in_chromium
def test_on_a_phone_the_runs_stand_below_each_other_and_nothing_is_cut_off(browser, two_runs):
    page = Opened(browser, two_runs, width=390).page
    page.wait_for_selector("#chart-4 .heatmaplayer image")
    boxes = [page.locator(f"#chart-{n} .main-svg").first.bounding_box() for n in (1, 2, 3, 4)]
    for above, below in pairwise(boxes):
        assert above["y"] + above["height"] <= below["y"]
    assert max(box["x"] + box["width"] for box in boxes) <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


@in_chromium
def test_hovering_shows_a_sample(seen):
    text = hovered(seen.page)
    assert re.search(r"validation, row 10\d\d", text)
    assert "(0.75)" in text
    assert seen.complaints == []


def wait_for(page, condition):
    """Until it holds; the page's own policy lets no ``wait_for_function`` poll it there."""
    for _ in range(200):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"in ten seconds it never was that {condition}")


@in_chromium
def test_the_slider_moves_the_points_from_epoch_to_epoch(seen):
    page, x = seen.page, "document.querySelector('#chart-1')._fullData[0].x[0]"
    assert page.evaluate(x) == pytest.approx(first_point(300), abs=1e-3)
    box = page.locator("#chart-1 .slider-rail-touch-rect").bounding_box()
    page.mouse.click(box["x"] + 4, box["y"] + box["height"] / 2)
    wait_for(page, f"Math.abs({x} - {first_point(100)}) < 1e-3")
    assert page.evaluate("document.querySelector('#chart-1').layout.sliders[0].active") == 0
    assert page.locator("#chart-1 .scatterlayer .point").count() == 33
    assert seen.complaints == []


@in_chromium
def test_the_points_are_colored_by_class_or_by_assignment(seen):
    visible = "document.querySelector('#chart-1').data.map(trace => trace.visible ?? true)"
    by_class = [True] * 4 + [False] * 3 + [True]  # "unknown" is a group; the last are centroids
    assert seen.page.evaluate(visible) == by_class
    seen.page.locator("#chart-1 .updatemenu-button").nth(1).click()
    wait_for(seen.page, f"{visible}[0] === false")
    assert seen.page.evaluate(visible) == [False] * 4 + [True] * 4
    assert seen.complaints == []


@in_chromium
def test_no_script_of_the_data_is_run(browser, evil):
    seen = Opened(browser, evil)
    seen.page.wait_for_selector("#chart-1 .scatterlayer .point")
    assert EVIL in hovered(seen.page)
    assert EVIL in seen.page.locator("#chart-1 .legendtext").first.text_content()
    assert seen.requests == [evil.resolve().as_uri()]
    assert seen.complaints == []


def first_point(step: int) -> float:
    """Where the chart has the first sample: the plane is moved and scaled to fill a square."""
    recorded = snapshot(step)
    both = np.concatenate([recorded.points, recorded.centroids])
    middle = (both[:, 0].min() + both[:, 0].max()) / 2
    return float((recorded.points[0, 0] - middle) / (np.ptp(both, axis=0).max() / 2))


def test_the_command_names_what_is_wrong(tmp_path, capsys):
    def complaint(*words: object) -> str:
        with pytest.raises(SystemExit) as stop:
            report([str(word) for word in words])
        assert stop.value.code == 2
        out, err = capsys.readouterr()
        assert not out
        assert err.count("\n") == 1
        return err

    assert "there is no run" in complaint(tmp_path / "nowhere")
    (tmp_path / "version_0").mkdir()
    assert "use one of its folders version_0" in complaint(tmp_path)
    assert "RUN_DIR" in complaint()
    broken = run_folder(tmp_path / "broken", (100,))
    (broken / "report" / "step_00000100.npz").write_bytes(b"no zip")
    assert "is not a file of a report" in complaint(broken)


def test_the_command_names_the_extra_that_is_missing(tmp_path, capsys, monkeypatch):
    run_folder(tmp_path / "run")
    monkeypatch.setitem(sys.modules, "plotly", None)
    for name in [name for name in sys.modules if name.startswith("plotly.")]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(SystemExit, match="2"):
        report([str(tmp_path / "run")])
    assert "pip install 'supercm-pl[report]'" in capsys.readouterr().err


def test_the_command_writes_the_file_and_says_so(tmp_path, capsys, monkeypatch):
    run_folder(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    report(["run"])
    assert re.fullmatch(r"wrote report\.html: 1 run, \d\.\d MB\n", capsys.readouterr().out)
    assert Path("report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")

"""The site: pages built from records alone, complete, safe, and usable in a browser when opened from a file."""

from __future__ import annotations

import html.parser
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import axe_playwright_python
import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from edgeproof.cli import main
from edgeproof.core.directories import content_sha256, read_meta, write_meta
from edgeproof.core.errors import EdgeproofError
from edgeproof.farm import alarms
from edgeproof.farm.alarms import Alarm
from edgeproof.site import drawing, pages, usage, vega
from edgeproof.site.fact_text import format_facts
from edgeproof.site.links import page_name
from edgeproof.site.words import count_noun, describe_task, format_time
from tests.support import record_trees
from tests.support.project import make_empty_project

RECORDS = Path("results/records")
SITE = Path("results/site")
HOSTILE = "<img src=x onerror=alert(1)>\"'{{7*7}}</script>"
NIGHTS = 8
AXE = Path(axe_playwright_python.__file__).parent / "axe.min.js"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def write_records() -> None:
    """Write records of a teacher and a student on two runtimes and devices over eight nights.

    On one night the student gets slower. One run is refused, one model has a hostile name.
    """
    rng = np.random.default_rng(1)
    for night in range(NIGHTS):
        for runtime, device in (("onnx", "local"), ("tflite", "local"), ("onnx", "board")):
            for model, factor in (("teacher", 4.0), ("student", 1.3 if night >= 4 and device == "board" else 1.0)):
                for process in range(3):
                    where = describe_session(night, runtime, device)
                    calls = 1e4 * factor * np.exp(rng.normal(0, 0.005)) * np.exp(rng.normal(0, 0.02, 100))
                    record_trees.write(RECORDS, model=model, process=process, call_ns=calls, **where)
                hits = rng.random(200) < (0.95 if model == "teacher" else 0.9)
                record_trees.write(RECORDS, "accuracy", model=model, correct=hits, **where)
    where = describe_session(7, "onnx", "local")
    refused = {"verdict": "invalid", "reasons": [f"some task waited 31% {HOSTILE}"]}
    record_trees.write(RECORDS, model="student", scheme="int8-static", **refused, **where)
    path = record_trees.write(RECORDS, model="hostile", call_ns=np.full(100, 5e3), **where) / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model": HOSTILE}))
    operators = [{"name": HOSTILE, "kind": "Conv", "where": "CPU", "time_ns": 1e3 * n} for n in range(40)]
    profile = {"method": "by hand", "inferences": 50, "operators": operators}
    for name, content in (("teacher", profile), ("student", {"missing": "no profiler"})):
        placed = [
            {"name": HOSTILE, "kind": "Erf", "where": "CPU", "reason": reason} for reason in ("", f"no {HOSTILE}")
        ]
        placement = {"operators": placed} if name == "teacher" else {"missing": "no list"}
        record_trees.write(RECORDS, "profile", model=name, job=False, profile=content, placement=placement, **where)
    for model in ("teacher", "small"):  # the teacher has measured records too
        estimate = {"cycles": 123_456, "inference_ns": 250_000, "sram_bytes": 2048, "flash_bytes": 4096}
        estimate |= {"npu_operators": 9, "cpu_operators": 0}
        record_trees.write(RECORDS, "estimate", model=model, job=False, estimate=estimate, **describe_npu_session())
    lineage = {"parent": {"name": "gone", "sha256": "f" * 64}}
    description = {"lineage": lineage, "options": {"epochs": 3}, "task": "task", "data_sha256": "d" * 64}
    record_trees.write(RECORDS, model="child", call_ns=np.full(100, 5e3), described=description, **where)


def write_alarms() -> None:
    """Write alarms of the night of the step, the regression twice, and one of a night without records."""
    for message in ("suspected", f"30% slower {HOSTILE}"):
        alarms.write(Alarm("regression", "2026-03-05", "board/onnx/student/fp32 single_stream", message))
    alarms.write(Alarm("not confirmed", "2026-03-05", "board/onnx/teacher/fp32 single_stream", "within 2%"))
    alarms.write(Alarm("missing", "elsewhen", "local/onnx/teacher/fp32 offline", "no record"))


def describe_npu_session() -> dict[str, Any]:
    return {**describe_session(7, "tflite", "npu"), "card": {"npu": "ethos-u55-128"}, "session_of": "tflite_npu"}


def describe_session(night: int, runtime: str, device: str) -> dict[str, Any]:
    return {
        "runtime": runtime,
        "device": device,
        "session_of": f"{runtime}{night}",
        "session_id": f"{device} {runtime} {night}",
        "measured_at": f"2026-03-{night + 1:02d}T01:00:00+00:00",
        "figures": {"waiting_share": 0.01, "steal_cpus": None, "others_cpus": 0.5},
        "result": {"fingerprint": {"cpu": device, "kernel": "6.2" if night > 5 else "6.1"}},
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a site once for all tests that only read it."""
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        write_records()
        write_alarms()
        Path("conf/reports").mkdir(parents=True)
        Path("conf/reports/fastest.yaml").write_text("title: The fastest\nsort: [p50]\n")
        assert main.run(["publish"]) == 0
    return root / SITE


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_empty_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Page(html.parser.HTMLParser):
    """Tags of a page with their attributes, and its text."""

    VOID = ("meta", "link", "input", "br", "img", "line", "circle", "polyline")

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        assert self._open == [], path

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self._open.pop() == tag, (self.path, tag)

    def handle_data(self, data: str) -> None:
        self.text += data

    def find_all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read_pages(site: Path) -> list[Page]:
    return [Page(path) for path in sorted(site.rglob("*.html")) if path.parent.name != "tables"]


# --- content ------------------------------------------------------------------------------------------------------


def test_every_artifact_device_and_night_has_a_page(built: Path) -> None:
    assert len(list((built / "artifacts").iterdir())) == 8
    assert sorted(path.name for path in (built / "devices").iterdir()) == ["board.html", "local.html", "npu.html"]
    assert len(list((built / "nights").iterdir())) == NIGHTS
    tables = sorted(path.name for path in (built / "tables").iterdir())
    assert tables == ["fastest.csv", "fastest.html", "fastest.md", "fastest.parquet", "fastest.tex"]


def test_every_link_leads_to_a_file_of_the_site(built: Path) -> None:
    for page in read_pages(built):
        targets = [attributes.get("href") for tag in ("a", "link") for attributes in page.find_all(tag)]
        targets += [attributes.get("src") for attributes in page.find_all("script")]
        ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
        for target in targets:
            assert target is not None
            if target.startswith("#"):
                assert target[1:] in ids, (page.path, target)
            elif target != "data:,":
                assert not re.match(r"[a-z]+:|//", target), target
                assert (page.path.parent / target).resolve().is_relative_to(built.resolve())
                assert (page.path.parent / target).is_file(), (page.path, target)


def test_every_page_is_usable_with_keyboard_and_screen_reader(built: Path) -> None:
    for page in read_pages(built):
        assert page.find_all("html") == [{"lang": "en"}]
        assert len(page.find_all("h1")) == len(page.find_all("main")) == len(page.find_all("title")) == 1
        ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
        assert len(ids) == len(set(ids)), page.path
        assert page.find_all("a")[0]["href"] == "#main"
        for tag, attributes in page.tags:
            labels = {label.get("for") for label in page.find_all("label")}
            if tag in ("input", "select"):
                assert "aria-label" in attributes or attributes.get("id") in labels, page.path
            if tag == "svg":
                assert attributes["role"] == "img"
                assert attributes["aria-label"]
            if tag == "th":
                assert "scope" in attributes
            if tag == "section":
                assert attributes["aria-labelledby"] in ids
            if "scroll" in (attributes.get("class") or ""):
                assert attributes["tabindex"] == "0"
                assert attributes["aria-label"]


def test_a_hostile_name_is_never_markup(built: Path) -> None:
    pages_with_name = 0
    for page in read_pages(built):
        assert not page.find_all("img"), page.path
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
        assert "49</script>" not in page.text
        pages_with_name += HOSTILE in page.text
    assert pages_with_name >= 4
    assert [
        path.name for path in (built / "artifacts").iterdir() if not re.fullmatch(r"[a-z0-9_.-]+\.html", path.name)
    ] == []
    data = (built / "data/rows.js").read_text()
    parsed = json.loads(data.removeprefix("window.EDGEPROOF = ").removesuffix(";\n"))
    assert HOSTILE in {row["model"] for row in parsed["rows"]}


def test_an_artifact_page_shows_the_lineage_and_its_gaps(built: Path) -> None:
    page = Page(built / "artifacts/child-onnx-fp32.html")
    assert "no record here says how it was made" in page.text
    for word in ("ffffffffffff", "dddddddddddd", "epochs 3", "edgeproof reproduce local/onnx/child/fp32"):
        assert word in page.text


def test_an_artifact_page_shows_the_disagreement_between_runtimes(built: Path) -> None:
    text = Page(built / "artifacts/student-onnx-fp32.html").text
    assert "Disagreement between runtimes" in text
    assert "correct only here" in text


def test_an_artifact_page_shows_the_disagreement_of_a_metric_that_is_no_proportion(project: Path) -> None:
    errors = np.random.default_rng(0).chisquare(1, 300)
    for runtime, scale in (("onnx", 1.0), ("tflite", 4.0)):
        where = describe_session(0, runtime, "local")
        evidence = {"squared_error": errors * scale}
        record_trees.write(RECORDS, "accuracy", model="sensor", metric="rmse", evidence=evidence, **where)
        record_trees.write(RECORDS, model="sensor", call_ns=np.full(100, 5e3), **where)
    assert main.run(["publish"]) == 0
    text = (SITE / "artifacts/sensor-tflite-fp32.html").read_text()
    section = text.partition('id="disagreement"')[2].partition("</section>")[0]
    cells = re.findall(r'<td class="number">([^<]*)</td>', section)
    difference = np.sqrt(errors.mean())  # twice the error, less the error
    assert cells[0].split()[0] == f"+{difference:.{len(cells[0].split()[0].partition('.')[2])}f}"
    assert cells[1:4] == ["–", "–", "300"]
    assert float(cells[4]) < 0.01


def test_an_artifact_page_shows_the_profile_slowest_operator_first_or_the_reason_for_none(built: Path) -> None:
    page = (built / "artifacts/teacher-onnx-fp32.html").read_text()
    section = page.partition('id="profile"')[2].partition("</section>")[0]
    assert "780.0 µs in 40 operators" in section
    times_us = [float(text) for text in re.findall(r'<td class="number">([0-9.]+)</td>', section)]
    assert times_us == [39.0 - n for n in range(25)]
    assert "5.0%" in section  # 39 of 780 µs
    assert "15 more operators take 13.5% of the time together" in section  # 0 + 1 + … + 14 of 780
    assert "no profile, no profiler." in (built / "artifacts/student-onnx-fp32.html").read_text()
    assert "no profile, none was measured." in (built / "artifacts/student-tflite-fp32.html").read_text()


def test_an_artifact_page_lists_the_operators_that_fall_back_with_their_reasons(built: Path) -> None:
    page = (built / "artifacts/teacher-onnx-fp32.html").read_text()
    section = page.partition('id="placement"')[2].partition("</section>")[0]
    assert "1 of 2 operators run on the expected unit and kernel" in section
    assert "<td>no &lt;img src=x" in section
    assert 'id="placement"' not in (built / "artifacts/student-onnx-fp32.html").read_text()


def test_estimates_have_their_own_table_without_measured_figures(built: Path) -> None:
    device = (built / "devices/npu.html").read_text()
    assert "Estimated, not measured" in device
    assert "No device ran anything" in device
    assert "123,456" in device
    assert "250.0" in device
    assert ">estimated</td>" in device
    assert not any(
        word in device
        for word in ("measured on this device", "State of the machine", "Hardware and software", ">valid<")
    )
    both = (built / "artifacts/teacher-tflite-fp32.html").read_text()
    figures, _, rest = both.partition("Estimated, not measured")
    assert "npu" not in figures
    assert "123,456" in rest
    alone = (built / "artifacts/small-tflite-fp32.html").read_text()
    assert "123,456" in alone
    assert 'id="figures"' not in alone
    assert '"npu"' not in (built / "data/rows.js").read_text()


def test_the_page_of_a_refused_artifact_shows_the_reason(built: Path) -> None:
    page = Page(built / "artifacts/student-onnx-int8-static.html")
    assert "refused" in page.text
    assert "some task waited 31%" in page.text


def test_a_night_page_shows_slower_cells_change_points_and_alarms(built: Path) -> None:
    text = Page(built / "nights/2026-03-05.html").text
    assert re.search(r"student\s+fp32 on onnx", text)
    assert "slower" in text
    assert re.search(r"\+(29|30|31)\.\d% \(p = ", text)
    assert "30% slower" in text
    assert "within 2%" in text
    assert "suspected" not in text, "only the last alarm of a cell is shown"
    calm = Page(built / "nights/2026-03-03.html").text
    assert "Findings of the nightly check" not in calm
    assert "None of them shows a difference." in calm
    assert "No result has a lasting change on this night." in calm
    assert "No result of this night was measured before." in Page(built / "nights/2026-03-01.html").text


def test_a_device_page_shows_fingerprint_changes_and_health(built: Path) -> None:
    text = Page(built / "devices/board.html").text
    assert "kernel: 6.1 → 6.2" in text
    assert "Unchanged since 2026-03-07" in text
    assert "unknown" in text
    assert "0.500" in text


def test_the_same_records_give_the_same_site(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built.parents[1])
    assert main.run(["publish", "--out", "again"]) == 0
    ours = {path.relative_to(built): path.read_bytes() for path in built.rglob("*") if path.is_file()}
    again = Path("again")
    assert {path.relative_to(again): path.read_bytes() for path in again.rglob("*") if path.is_file()} == ours


def test_the_overview_shows_the_headline_results_with_the_processor_and_the_date(built: Path) -> None:
    text = " ".join(Page(built / "index.html").text.split())
    overview = text.partition("Best results: local")[2].partition("What was measured")[0]
    for word in ("measured 2026-03-08 01:00 UTC", "fastest", "smallest", "highest accuracy", "within 1 point"):
        assert word in overview
    assert "student fp32" in overview


def test_a_site_offers_the_measured_file_its_usage_and_its_records(project: Path) -> None:
    artifact = Path("artifacts/onnx/teacher/fp32")
    artifact.mkdir(parents=True)
    (artifact / "model.onnx").write_bytes(b"x" * 2048)
    (artifact / "samples.npy").write_bytes(b"")
    write_meta(artifact, {})
    sha256 = content_sha256(read_meta(artifact))
    record = record_trees.write(RECORDS, call_ns=np.full(100, 5e3), artifact={"sha256": sha256})
    record_trees.write(RECORDS, model="student", call_ns=np.full(100, 5e3))
    assert main.run(["publish"]) == 0
    page = Page(SITE / "artifacts/teacher-onnx-fp32.html")
    assert "Download model.onnx 2 KiB" in " ".join(page.text.split())
    assert "onnxruntime.InferenceSession" in page.text
    assert [path.name for path in (SITE / "files/teacher-onnx-fp32").iterdir()] == ["model.onnx"]
    copies = [path for path in (SITE / "records").rglob("*.json") if "teacher" in str(path)]
    assert [path.read_bytes() for path in copies] == [(record / "record.json").read_bytes()]
    other = Page(SITE / "artifacts/student-onnx-fp32.html").text
    assert "The file is not part of this site." in other
    (artifact / "model.onnx").write_bytes(b"changed")
    assert main.run(["publish"]) == 0
    assert not (SITE / "files").exists()


def test_a_device_is_called_by_the_title_of_its_card(project: Path) -> None:
    Path("devices").mkdir()
    Path("devices/local.yaml").write_text("title: My <board>\ntransport: local\nthreads: 1\n")
    record_trees.write(RECORDS, call_ns=np.full(100, 5e3))
    assert main.run(["publish"]) == 0
    for name in ("index.html", "devices/local.html", "artifacts/teacher-onnx-fp32.html", "nights/2026-01-02.html"):
        assert "My <board>" in Page(SITE / name).text, name
    assert '"local":"My <board>"' in (SITE / "data/rows.js").read_text()


# --- bad input ------------------------------------------------------------------------------------------------------


def test_a_site_without_records_says_so(project: Path) -> None:
    assert main.run(["publish"]) == 0
    assert "There are no records yet" in Page(SITE / "index.html").text


def test_a_site_of_refused_records_shows_the_reasons(project: Path) -> None:
    record_trees.write(RECORDS, verdict="error", reasons=["killed"], job=False)
    assert main.run(["publish"]) == 0
    assert "killed" in Page(next((SITE / "artifacts").iterdir())).text


def test_a_damaged_record_is_reported_on_the_overview_and_gives_exit_code_1(project: Path) -> None:
    damaged = record_trees.write(RECORDS, process=1, call_ns=np.full(100, 5)) / "record.json"
    record_trees.write(RECORDS, process=0, call_ns=np.full(100, 5))
    damaged.write_text("{")
    assert main.run(["publish"]) == 1
    assert str(damaged) in Page(SITE / "index.html").text


def test_a_failed_build_keeps_the_old_site(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record_trees.write(RECORDS, call_ns=np.full(100, 5))
    assert main.run(["publish"]) == 0
    before = {path: path.read_bytes() for path in SITE.rglob("*") if path.is_file()}
    record_trees.write(RECORDS, model="new", call_ns=np.full(100, 5))
    monkeypatch.setattr(pages, "describe_night", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main.run(["publish"])
    assert {path: path.read_bytes() for path in SITE.rglob("*") if path.is_file()} == before
    Path("conf/reports").mkdir(parents=True)
    Path("conf/reports/wrong.yaml").write_text("models: [none]\n")
    with pytest.raises(EdgeproofError, match="there are no records of model 'none'"):
        main.run(["publish"])
    assert {path: path.read_bytes() for path in SITE.rglob("*") if path.is_file()} == before
    names = {path.name for path in SITE.parent.iterdir()}
    assert names - {".store.lock"} == {"records", "site", "store"}


# --- parts ----------------------------------------------------------------------------------------------------------


def test_page_names_are_unique_and_safe() -> None:
    names = [
        ("a", "b"),
        ("a-b",),
        ("A", "b"),
        ("a/b",),
        ("..",),
        ("",),
        ("ü",),
        ("a.b",),
        ("a b",),
        ("x" * 300,),
        ("x" * 301,),
    ]
    files = [page_name(*parts) for parts in names if parts != ("a-b",)]
    assert len({name.lower() for name in files}) == len(files)
    assert all(re.fullmatch(r"[a-z0-9_.-]{1,100}\.html", name) and not name.startswith(".") for name in files)


def test_a_distribution_passes_through_its_quantiles() -> None:
    rng = np.random.default_rng(0)
    from edgeproof.records.summaries import QUANTILE_SHARES

    quantiles = np.quantile(rng.lognormal(10, 0.2, 5000), QUANTILE_SHARES)
    svg = str(drawing.draw_distribution([tuple(quantiles)], "a <b>"))
    assert "<b>" not in svg
    points = re.search(r'points="([^"]+)"', svg)
    assert points is not None
    places = np.array([[float(number) for number in point.split(",")] for point in points[1].split()])
    assert (np.diff(places[:, 0]) >= 0).all()
    assert (np.diff(places[:, 1]) <= 0).all()
    logs = np.log(quantiles[: len(places)])
    expected = drawing.LEFT + (logs - logs[0]) / (logs[-1] - logs[0]) * (drawing.WIDTH - drawing.RIGHT - drawing.LEFT)
    np.testing.assert_allclose(places[:, 0], expected, atol=0.06)


@pytest.mark.parametrize("processes", [[], [[0.0] * 43], [[1000.0] * 43]])
def test_empty_and_constant_distributions_draw_no_invalid_numbers(processes: list[list[float]]) -> None:
    assert "nan" not in str(drawing.draw_distribution(processes, "x"))


def test_sizes_in_facts_have_binary_units() -> None:
    facts = {"memory_bytes": 8 * 2**30, "disk_free_bytes": 512, "caches": {"L2": "1 MiB"}, "governor": None}
    assert format_facts(facts) == {
        "memory": "8 GiB",
        "disk free": "512 B",
        "caches L2": "1 MiB",
        "governor": "unknown",
    }


def test_counts_and_times_are_written_for_readers() -> None:
    assert [count_noun(number, "record") for number in (0, 1, 1234)] == ["0 records", "1 record", "1,234 records"]
    assert format_time("2026-01-02T03:04:05+00:00") == "2026-01-02 03:04 UTC"
    assert format_time("elsewhen") == "elsewhen"
    assert describe_task("digits").startswith("Handwritten digits")
    assert describe_task("nothing") == "nothing"


@pytest.mark.parametrize("runtime", list(usage.SNIPPETS))
def test_the_example_of_every_runtime_is_python_and_pins_the_measured_versions(runtime: str) -> None:
    described = usage.describe_usage(runtime, {"numpy": "2.0", "mlcommons-loadgen": "6.0", "other": None})
    assert described is not None
    compile(described.code, runtime, "exec")
    assert described.install == "pip install numpy==2.0"
    assert usage.describe_usage("plugin", {}) is None


# --- in a browser ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Start headless Chromium. Without it these tests are skipped."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium on the PATH (Debian: apt-get install chromium)")
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def visit(browser: Any, built: Path) -> Iterator[Any]:
    """Return a function that opens a page from its file.

    Afterwards assert that no page made a network request and no script failed.
    """
    contexts = []
    errors: list[str] = []

    def open_page(path: str, **options: Any) -> Any:
        context = browser.new_context(offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        page.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:", "blob:")) else errors.append(request.url),
        )
        page.goto((built / path).as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def wait_for_plot(page: Any) -> None:
    page.wait_for_selector("#plot canvas")
    page.wait_for_function("document.documentElement.dataset.drawn")


def test_the_plot_draws_every_point_and_its_filters_select_points(visit: Any) -> None:
    page = visit("pareto.html")
    wait_for_plot(page)
    assert page.inner_text("#status") == "6 results shown, 3 of them best trade-offs."
    assert page.locator("#points tr").count() == 6
    page.get_by_label("tflite").uncheck()
    page.wait_for_function("document.documentElement.dataset.drawn === '4'")
    assert "4 results shown" in page.inner_text("#status")
    page.get_by_label("board").uncheck()
    page.get_by_label("onnx").uncheck()
    assert page.inner_text("#status") == "No result with this figure matches the filters."


def list_unbeaten(page: Any) -> set[tuple[str, str]]:
    """Return the page and the device of every line of the plot's table that says that nothing beats it."""
    lines = page.evaluate(
        """[...document.querySelectorAll('#points tr')].filter((line) => line.lastChild.textContent === '◆ yes')
           .map((line) => [line.querySelector('a').getAttribute('href'), line.children[1].textContent])"""
    )
    return {(href, device) for href, device in lines}


def test_the_plot_marks_the_front_of_each_device_whatever_the_filters_show(visit: Any, built: Path) -> None:
    page = visit("pareto.html")
    wait_for_plot(page)
    data = json.loads((built / "data/rows.js").read_text().removeprefix("window.EDGEPROOF = ").removesuffix(";\n"))
    front = {(row["page"], row["device"]) for row in data["rows"] if "p50" in row.get("front", [])}
    assert list_unbeaten(page) == front
    page.get_by_label("tflite").uncheck()
    page.wait_for_function("document.documentElement.dataset.drawn === '4'")
    assert list_unbeaten(page) == {(href, device) for href, device in front if "tflite" not in href}


def test_the_figure_on_the_axis_can_be_changed_with_the_keyboard(visit: Any) -> None:
    page = visit("pareto.html")
    wait_for_plot(page)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == "cost":
            break
    page.keyboard.press("ArrowDown")
    page.wait_for_function("document.getElementById('cost-heading').textContent !== 'p50, µs'")
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    page.wait_for_function("!document.querySelector('fieldset[data-part=device] input').checked")


def test_two_cells_are_compared_and_stay_in_the_address(visit: Any) -> None:
    page = visit("compare.html")
    page.fill("#a", "local/onnx/teacher/fp32")
    page.fill("#b", "local/onnx/student/fp32")
    line = page.locator("#figures tr").nth(1).inner_text()
    assert line.startswith("p50, µs")
    assert "▼ better" in line
    ratio = float(line.split("\t")[3].split()[0])
    assert ratio == pytest.approx(0.25, rel=0.05)
    page.reload()
    assert page.input_value("#b") == "local/onnx/student/fp32"
    page.fill("#b", "local/onnx/teacher/fp32")
    assert "no difference shown" in page.locator("#figures tr").nth(1).inner_text()
    page.fill("#b", "board/onnx/teacher/fp32")
    assert page.inner_text("#status") == "A and B were measured on different devices."
    page.fill("#b", "nothing")
    assert "Choose two results" in page.inner_text("#status")


def test_the_list_of_artifacts_can_be_searched_by_words_which_stay_in_the_address(visit: Any) -> None:
    page = visit("index.html")
    page.get_by_label("Find").fill("student tfl")
    assert page.locator("#all li:visible").count() == 1
    assert page.inner_text("[data-counts=all]") == "1 of 8"
    page.reload()
    assert page.inner_text("[data-counts=all]") == "1 of 8"


def test_filters_and_order_of_the_plot_are_kept_in_the_address(visit: Any) -> None:
    page = visit("pareto.html")
    wait_for_plot(page)
    page.get_by_label("tflite").uncheck()
    page.select_option("#cost", "size")
    page.get_by_role("button", name="accuracy, %").click()
    page.get_by_role("button", name="accuracy, %").click()
    assert page.evaluate("location.search") == "?figure=size&runtime=onnx&sort=-quality"
    page.reload()
    wait_for_plot(page)
    assert not page.get_by_label("tflite").is_checked()
    assert page.input_value("#cost") == "size"
    assert page.locator("#table th[aria-sort=descending]").inner_text() == "accuracy, %"
    shares = page.locator("#points tr td:nth-child(4)").all_inner_texts()
    assert shares == sorted(shares, reverse=True)


def test_a_table_is_sorted_by_its_headings_with_the_keyboard(visit: Any) -> None:
    page = visit("devices/board.html")
    page.get_by_role("button", name="p50, µs").focus()
    for direction in ("ascending", "descending"):
        page.keyboard.press("Enter")
        assert page.locator("th[aria-sort]").first.get_attribute("aria-sort") == direction
        cells = page.locator("section[aria-labelledby=artifacts] tbody tr td:nth-child(6)").all_inner_texts()
        numbers = [float(re.search(r"[0-9.,]+", cell)[0].replace(",", "")) for cell in cells]  # type: ignore[index]
        assert numbers == sorted(numbers, reverse=direction == "descending")
        assert len(numbers) > 1


def test_a_wide_table_shows_a_cue_on_a_phone_until_it_is_scrolled_to_its_end(visit: Any) -> None:
    page = visit("devices/board.html", viewport={"width": 390, "height": 844})
    assert page.get_by_text("Scroll the table sideways").first.is_visible()
    table = page.locator(".scroll[data-more-right]").first
    assert table.is_visible()
    before = page.locator(".scroll[data-more-right]").count()
    table.evaluate("(it) => { it.scrollLeft = it.scrollWidth; }")
    page.wait_for_function(f"document.querySelectorAll('.scroll[data-more-right]').length === {before - 1}")


def test_a_phone_shows_headline_figures_on_the_first_screen(visit: Any) -> None:
    for path in ("index.html", "artifacts/student-onnx-fp32.html"):
        page = visit(path, viewport={"width": 390, "height": 844})
        box = page.locator(".tiles .value").nth(2).bounding_box()
        assert box["y"] + box["height"] < 844, path


PAGE_KINDS = [
    "index.html",
    "pareto.html",
    "compare.html",
    "devices/board.html",
    "devices/npu.html",
    "nights/2026-03-05.html",
    "artifacts/student-onnx-fp32.html",
    "artifacts/teacher-onnx-fp32.html",
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", PAGE_KINDS)
def test_axe_finds_nothing_serious(visit: Any, path: str, scheme: str) -> None:
    page = visit(path, viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    page.evaluate(AXE.read_text(encoding="utf-8"))
    for width in (1440, 390):
        page.set_viewport_size({"width": width, "height": 844})
        violations = page.evaluate("axe.run(document, { preload: false })")["violations"]
        serious = [each for each in violations if each["impact"] in ("serious", "critical")]
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in serious] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("path", PAGE_KINDS)
def test_every_page_is_readable_on_a_phone_in_dark_mode(visit: Any, path: str) -> None:
    page = visit(path, viewport={"width": 375, "height": 700}, color_scheme="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    ground, ink = page.evaluate(
        """(() => {
            const style = getComputedStyle(document.documentElement);
            return [style.backgroundColor, style.color];
        })()"""
    )
    assert compute_contrast(ground, ink) >= 7
    for selector in ("a:visible", "small:visible", "footer p:visible"):
        elements = page.locator(selector)
        if elements.count():
            assert compute_contrast(ground, elements.first.evaluate("(it) => getComputedStyle(it).color")) >= 4.5, (
                selector
            )


def compute_contrast(one: str, two: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2, 1.4.3)."""

    def compute_luminance(colour: str) -> float:
        channels = [int(number) / 255 for number in re.findall(r"\d+", colour)[:3]]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    bright, dark = sorted((compute_luminance(one), compute_luminance(two)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_the_bundle_of_vega_is_complete_and_cached(project: Path) -> None:
    text = vega.load_bundle()
    assert len(text) > 500_000
    assert vega.load_bundle() == text

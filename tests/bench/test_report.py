"""The report of stored results: its tables in figures, and the page in a real browser, wide and narrow."""

import html
import json
import pathlib
import re
import shutil
import subprocess

import pytest

from bench.evaluation import figures, page, results, series, summary, tables
from bench.evaluation.series import Results
from tests.support.paths import ROOT

SAMPLE = pathlib.Path(__file__).with_name("sample-results.jsonl")


@pytest.fixture(scope="module")
def found():
    return Results(*results.read(SAMPLE))


@pytest.fixture(scope="module")
def pictures(found):
    return figures.all_of(found)


@pytest.fixture(scope="module")
def rendered(found, pictures):
    return page.render(found, pictures)


def sample(method, number, **values):
    return {"key": f"x||{method}|{number}", "experiment": "x", "title": "X", "workload": "redis", "varied": [],
            "parameters": {}, "conditions": {"migrations": 1}, "method": method, "number": number, "warmup": number < 0,
            "outcome": "migrated"} | values


def one_experiment(*samples):
    return Results([], list(samples))


def test_ratio_is_of_medians_against_the_best_other_and_without_warm_ups():
    found = one_experiment(sample("godwit-hybrid", -1, downtime_ms=9000),
                           *(sample("godwit-hybrid", n, downtime_ms=40 + n) for n in (1, 2, 3)),
                           *(sample("runc-tmpfs", n, downtime_ms=200 + n) for n in (1, 2, 3)),
                           *(sample("runc-disk", n, downtime_ms=800 + n) for n in (1, 2, 3)))
    row = tables.ratios(found).rows[0]
    assert row[0] == "X" and row[1].startswith("0.21 (0.20–0.21) runc-tmpfs")


def test_what_failed_counts_in_no_median_and_is_listed():
    found = one_experiment(sample("runc-disk", 1, downtime_ms=100),
                           sample("runc-disk", 2, downtime_ms=9000, outcome="wrong", why="a connection was lost"))
    assert tables.medians(found, "x").rows[0][1:3] == ["1", "100"]
    assert tables.failures(found).rows == [["X", "runC + CRIU, images on disk",
                                            "failed: the workload was not as it must be", "1", "a connection was lost"]]


def test_a_sample_that_was_measured_twice_counts_once():
    assert len(one_experiment(sample("runc-disk", 1, downtime_ms=1), sample("runc-disk", 1, downtime_ms=2)).samples) == 1


def test_an_emulated_machine_has_experiments_of_its_own(tmp_path):
    def run(name, machine, downtime_ms):
        path = tmp_path / name
        path.write_text("".join(json.dumps({"kind": kind} | entry) + "\n" for kind, entry in (
            ("session", {"suite": "S", "command": "c", "machine": machine}),
            ("sample", sample("runc-precopy", 1, downtime_ms=downtime_ms)))))
        return path

    emulated = {"kernel": "6.1.0-50-amd64", "emulated": True, "processors": 2, "processor": "TCG", "memory_mib": 1,
                "date": "today"}
    found = series.load([run("real", {"kernel": "6.18.4", "emulated": False}, 5), run("vm", emulated, 900),
                         run("two", emulated | {"machines": 2}, 800)])
    assert found.experiments() == ["x", "x-linux-6-1", "x-two-linux-6-1"]
    assert [series.values(found.of(name), "downtime") for name in found.experiments()] == [[5], [900], [800]]
    assert found.machine["kernel"] == "6.18.4"
    shown = page.render(found)
    assert "X, emulated machine with Linux 6.1" in shown and "6.1.0-50-amd64" in shown
    assert "X, two emulated machines with Linux 6.1" in shown and "two machines, each Linux 6.1" in shown


def test_pace_is_of_what_it_was_before():
    slow = sample("runc-tmpfs", 1, marks_s={"began": 100.0, "ended": 100.15},
                  pace={"unit": "x", "from_s": 99.8, "step_ms": 100, "values": [10, 10, 0, 5, 8, 10]})
    found = {name: series.values([slow], name) for name in ("pace_during", "pace_after", "work_lost")}
    assert found["pace_during"] == [pytest.approx(25)] and found["pace_after"] == [pytest.approx(90)]
    assert found["work_lost"] == [pytest.approx(0.17)]


def test_whatever_is_in_the_results_is_text_in_the_page():
    hostile = one_experiment(sample("runc-disk", 1, outcome="failed", why="<script>alert(1)</script>"),
                             sample("runc-disk", 2, downtime_ms=1))
    assert "<script>" not in page.render(hostile)


def test_every_figure_has_its_text_and_ids_are_unique(pictures):
    assert len(pictures) == len({figure.name for figure in pictures}) and all(figure.text for figure in pictures)
    assert all(figure.svg.startswith("<svg") and "<text" in figure.svg for figure in pictures)


def test_every_kind_of_figure_is_there(pictures):
    kinds = {"downtime", "client_gap", "standstill", "total", "bytes", "memory", "disk", "cpu", "freeze",
             "memory-over-time", "pace", "pages", "completion"}
    names = [figure.name for figure in pictures]
    assert not {kind for kind in kinds if not any(name.endswith(f"-{kind}") for name in names)}


def test_the_page_needs_nothing_else(rendered):
    addresses = [address for address in re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", rendered)
                 if not address.startswith(("#", "data:"))]
    assert addresses == [] and "<script" not in rendered


def test_the_summary_has_the_tables(found):
    text = summary.render(found)
    assert "## godwit against the best other method" in text
    assert all(f"## {found.title(experiment)}" in text for experiment in found.experiments() if found.of(experiment))


def test_the_command_writes_both(tmp_path):
    few = tmp_path / "few.jsonl"
    few.write_text("".join(line for line in SAMPLE.open() if '"experiment":"rounds"' in line))
    done = subprocess.run([ROOT / "bench" / "report", few, "--output", tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert (tmp_path / "report.html").exists() and (tmp_path / "summary.md").exists()


def test_the_command_says_what_is_wrong(tmp_path):
    (tmp_path / "results.jsonl").write_text("no result\n")
    for wrong, said in ((tmp_path, "line 1 is no result"), (tmp_path / "none", "there are no results")):
        done = subprocess.run([ROOT / "bench" / "report", wrong], capture_output=True, text=True)
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr


# --- In a browser ---

# The page in a frame as wide as a screen (a window of Chromium has a least width), and what one would look for in it.
FRAME = """<!DOCTYPE html><body style="margin:0"><iframe id=f style="width:{width}px;height:900px;border:0" srcdoc="{page}">
</iframe><pre id=found></pre><script>
const f = document.getElementById('f');
f.addEventListener('load', () => {{
  const d = f.contentDocument, svgs = [...d.querySelectorAll('figure svg')];
  const shown = svgs.filter(s => s.getBoundingClientRect().width > 200 && s.getBoundingClientRect().height > 80);
  const texts = svgs.flatMap(s => [...s.querySelectorAll('text')]).map(t => t.getBoundingClientRect().height);
  const cut = svgs.filter(s => [...s.querySelectorAll('text')].some(t => {{
    const a = t.getBoundingClientRect(), b = s.getBoundingClientRect();
    return a.left < b.left - 2 || a.right > b.right + 2 || a.top < b.top - 2 || a.bottom > b.bottom + 2; }}));
  document.getElementById('found').textContent = JSON.stringify({{width: d.documentElement.clientWidth,
    scroll: d.documentElement.scrollWidth, svgs: svgs.length, shown: shown.length, smallest: Math.min(...texts),
    cut: cut.map(s => s.parentNode.id)}});
}});
</script></body>"""


@pytest.fixture(scope="module")
def chromium():
    if not (program := shutil.which("chromium")):
        pytest.skip("chromium is not installed")
    return program


def look(chromium, path, directory):
    """(document, lines of the console) once the page is loaded; what the browser's own pages say is none of it."""
    done = subprocess.run([chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
                           f"--user-data-dir={directory / 'profile'}", "--enable-logging=stderr", "--window-size=1400,1000",
                           "--virtual-time-budget=20000", "--dump-dom", path.as_uri()],
                          capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line and "source: chrome://" not in line]


def test_no_error_on_the_console(chromium, rendered, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(rendered)
    document, console = look(chromium, path, tmp_path)
    assert console == [] and document.count("<figure") == rendered.count("<figure") > 10


def test_the_console_would_be_seen(chromium, tmp_path):
    path = tmp_path / "bad.html"
    path.write_text("<!DOCTYPE html><script>nothing_of_this_name()</script>")
    assert look(chromium, path, tmp_path)[1]


@pytest.mark.parametrize("width", [1280, 400])
def test_it_can_be_read_at_this_width(chromium, rendered, pictures, tmp_path, width):
    path = tmp_path / "frame.html"
    path.write_text(FRAME.format(width=width, page=html.escape(rendered, quote=True)))
    document, _ = look(chromium, path, tmp_path)
    seen = json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', document)[1]))
    assert seen["scroll"] <= seen["width"], "it is wider than the screen"
    assert seen["svgs"] == seen["shown"] == len(pictures), "a figure is not to be seen"
    assert seen["smallest"] >= 8, "text in a figure is too small to be read"
    assert seen["cut"] == [], "text of a figure is cut off"

"""Files of experiments: what is wrong in one is said with its place; what is right becomes cells."""

import copy
import subprocess

import pytest

from bench.evaluation import experiments, plan, session
from bench.evaluation.experiments import ExperimentError
from tests.support.paths import ROOT

GOOD = {"experiment": [{"name": "one", "workload": "redis", "methods": ["godwit-hybrid", "runc-tmpfs"]}]}


def document(**changes):
    changed = copy.deepcopy(GOOD)
    changed["experiment"][0] |= changes
    return changed


def test_lists_are_crossed_and_the_rest_is_default():
    suite = experiments.parse(document(parameters={"mib": [64, 256]}, conditions={"link": ["unshaped", "1gbit"]}))
    assert [cell.label for cell in suite.cells] == ["mib=64 link=unshaped", "mib=64 link=1gbit",
                                                    "mib=256 link=unshaped", "mib=256 link=1gbit"]
    assert {cell.repetitions for cell in suite.cells} == {10}
    assert suite.cells[0].parameters["connections"] == 8


def test_defaults_of_the_file_give_way_to_an_experiment():
    changed = document(repetitions=3) | {"defaults": {"repetitions": 5, "warmups": 0}}
    assert (experiments.parse(changed).cells[0].repetitions, experiments.parse(changed).cells[0].warmups) == (3, 0)


def test_runs_that_are_not_moved_need_no_method():
    suite = experiments.parse(document(workload="stencil", conditions={"migrations": [0, 5]}))
    assert [cell.methods for cell in suite.cells] == [["unmoved"], ["godwit-hybrid", "runc-tmpfs"]]


@pytest.mark.parametrize("changes, said", [
    ({"wokload": "redis"}, "unknown key 'wokload'"),
    ({"workload": "mysql"}, "unknown workload 'mysql'"),
    ({"methods": ["godwit-warm"]}, "unknown mode of godwit 'godwit-warm'"),
    ({"methods": ["phaul"]}, "unknown method 'phaul'"),
    ({"methods": []}, "methods must be"),
    ({"methods": ["runc-tmpfs", "runc-tmpfs"]}, "named twice"),
    ({"repetitions": 0}, "repetitions must be"),
    ({"repetitions": True}, "repetitions must be"),
    ({"sample_s": 0}, "sample_s must be a number above 0"),
    ({"parameters": {"gib": 1}}, "parameters: unknown key 'gib'"),
    ({"parameters": {"mib": "64"}}, "mib: must be a whole number"),
    ({"parameters": {"mib": []}}, "mib: the list is empty"),
    ({"conditions": {"link": "fast"}}, "link must be"),
    ({"conditions": {"compress": "gzip"}}, "compress must be"),
    ({"conditions": {"streams": 17}}, "streams must be 1 to 16"),
    ({"conditions": {"streams": 2}}, "godwit's alone; runc-tmpfs"),
    ({"conditions": {"migrations": 5}}, "redis does not end"),
    ({"name": "One"}, "name must be"),
])
def test_what_is_wrong_is_said_with_its_place(changes, said):
    with pytest.raises(ExperimentError) as error:
        experiments.parse(document(**changes), "file.toml")
    assert str(error.value).startswith("file.toml: experiment 1 (")
    assert said in str(error.value)


def test_the_same_name_twice():
    twice = {"experiment": GOOD["experiment"] * 2}
    with pytest.raises(ExperimentError, match="experiment 2 .*the name is taken"):
        experiments.parse(twice)


def test_a_file_without_experiments():
    with pytest.raises(ExperimentError, match="no \\[\\[experiment\\]\\]"):
        experiments.parse({})


@pytest.mark.parametrize("content, said", [
    ("[[experiment]\n", "not TOML"),
    ('[[experiment]]\nname = "a"\nworkload = "redis"\nmethods = ["warp"]\n', "unknown method 'warp'"),
])
def test_the_command_line_says_so_and_fails(tmp_path, content, said):
    path = tmp_path / "bad.toml"
    path.write_text(content)
    done = subprocess.run([ROOT / "bench" / "evaluate", path], capture_output=True, text=True)
    assert done.returncode not in (0, None)
    assert done.stderr.startswith(f"evaluate: error: {path}: ") and said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there(tmp_path):
    done = subprocess.run([ROOT / "bench" / "evaluate", tmp_path / "none.toml"], capture_output=True, text=True)
    assert done.returncode != 0 and "No such file" in done.stderr


@pytest.mark.parametrize("name", ["quick", "full"])
def test_the_files_of_the_repository_are_right(name):
    suite = experiments.load(ROOT / "bench" / "experiments" / f"{name}.toml")
    varied = {varied for cell in suite.cells for varied in cell.varied}
    assert varied == {"mib", "rate_mb", "rounds_max", "processes", "connections", "link", "latency_ms", "compress",
                      "streams", "migrations"}


def test_the_file_for_emulated_machines_has_what_other_kernels_can():
    suite = experiments.load(ROOT / "bench" / "experiments" / "vm.toml")
    with_latency = [cell for cell in suite.cells if cell.conditions["latency_ms"]]
    assert with_latency
    assert all("runc-precopy" in cell.methods for cell in suite.cells if cell.conditions["migrations"])
    assert min(cell.repetitions for cell in suite.cells) >= 10


def test_a_full_run_has_ten_repetitions_of_everything_and_takes_a_hundred_minutes(monkeypatch):
    monkeypatch.setattr(session.machines, "no_room", lambda *_: None)
    suite = experiments.load(ROOT / "bench" / "experiments" / "full.toml")
    assert min(cell.repetitions for cell in suite.cells) >= 10
    capable = {"kernel": "6.1", "netem": True, "soft_dirty": True, "versions": {"podman": "podman"}}
    here = {"kernel": "6.18", "netem": False, "soft_dirty": False, "versions": {"podman": "podman"}}
    assert plan.Estimate(suite.cells).seconds_left() < 120 * 60
    assert session.estimate(suite.cells, here).seconds_left() < 101 * 60
    assert session.estimate(suite.cells, capable).samples_left == plan.Estimate(suite.cells).samples_left


def test_the_estimate_is_printed(tmp_path):
    path = tmp_path / "one.toml"
    path.write_text('[[experiment]]\nname = "a"\nworkload = "redis"\nmethods = ["godwit-cold"]\nsample_s = 6\n')
    done = subprocess.run([ROOT / "bench" / "evaluate", path, "--estimate"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.splitlines()[-1].split() == ["all", "1", "11", "1.1"]

"""The helpers' own logic, without a lab."""

import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from bench import downtime  # noqa: E402
from tests.support import costs, leftovers, table  # noqa: E402


def test_same_inventory_has_no_leftovers():
    inventory = {"link": ["br0", "ct-x in br0"], "mount": ["/run tmpfs", "/run tmpfs"]}
    assert leftovers.compare(inventory, inventory) == []


def test_what_appeared_and_what_is_gone_is_named():
    before = {"link": ["br0", "ct-x in br0"], "mount": ["/run tmpfs"]}
    after = {"link": ["br0", "gw1 in br0"], "mount": ["/run tmpfs", "/run tmpfs"]}
    assert leftovers.compare(before, after) == [
        "link gw1 in br0 appeared", "link ct-x in br0 is gone", "mount /run tmpfs appeared"]


def test_written_files_are_found_and_others_are_not(tmp_path):
    (tmp_path / "old").touch()
    os.utime(tmp_path / "old", (1, 1))
    os.utime(tmp_path, (1, 1))
    since = time.time() - 1
    assert costs.files_changed(since, tmp_path) == []
    (tmp_path / "new").touch()
    assert str(tmp_path / "new") in costs.files_changed(since, tmp_path)
    assert str(tmp_path / "old") not in costs.files_changed(since, tmp_path)


def test_ways_take_turns_in_both_directions():
    assert downtime.abba(["a", "b"], 3) == ["a", "b", "b", "a", "a", "b"]


def test_summary_is_of_one_way_only():
    results = [{"way": way, "downtime_ms": ms, "client_gap_ms": ms + 10}
               for way, ms in (("a", 1), ("a", 5), ("a", 3), ("b", 100))]
    found = downtime.summary(results, "a")
    assert found["moves"] == 3
    assert found["downtime_ms"] == {"median": 3, "min": 1, "max": 5}
    assert found["gap_minus_downtime_ms"]["median"] == 10
    assert downtime.summary(results, "c") is None


def test_table_lines_up():
    lines = table.render([["a", "1"], ["bcd", "23"]], ["", "n"]).splitlines()
    assert lines == ["         n", "  ────────", "  a      1", "  bcd   23"]
    assert table.size(256 << 20) == "256.0 MiB" and table.size(0) == "0 B" and table.ms(None) == "–"

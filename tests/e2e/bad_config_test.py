"""A configuration with an error stops godwitd before it does anything, with exit status 2, file and line."""

import pytest

CONFIG = "/run/tried.toml"


@pytest.mark.parametrize("old, new, said", [
    ("[network]\n", '[network]\nbrigde = "br0"\n', "unknown key 'network.brigde'"),
    ("[network]\n", "[netwrok]\n", "unknown key 'netwrok'"),
    ("[network]\n", "[network]\nhold_bytes_max = 1\nhold_packets_max = -1\n", "network.hold_packets_max must be from 0"),
    ('bridge = "br0"', "bridge = 5", "network.bridge must be a string"),
    ('bridge = "br0"', 'bridge = "br0', "tried.toml"),
])
def test_line_of_the_error_is_told(lab, old, new, said):
    text = (lab.root("node1") / "etc/godwit/godwit.toml").read_text()
    assert old in text
    changed = text.replace(old, new)
    line = next(number for number, (before, after) in
                enumerate(zip(text.splitlines(), changed.splitlines()), 1) if before != after)
    ended = start(lab, changed)
    assert ended.returncode == 2
    assert said in ended.stderr
    # The line that differs, or the one after it where two were added.
    assert any(f"{CONFIG}:{number}: " in ended.stderr for number in (line, line + 1)), ended.stderr


def test_required_key_that_is_missing(lab):
    ended = start(lab, "")
    assert ended.returncode == 2
    assert "required key 'node' is missing" in ended.stderr


def test_file_that_is_missing(lab):
    ended = lab.exec("node1", "godwitd", "--config", "/run/none.toml", check=False, timeout_s=10)
    assert ended.returncode == 2
    assert "/run/none.toml" in ended.stderr and "No such file" in ended.stderr


def test_second_agent_on_the_same_host(lab):
    ended = lab.exec("node1", "godwitd", "--config", "/etc/godwit/godwit.toml", check=False, timeout_s=10)
    assert ended.returncode == 1
    assert "another agent serves /run/godwit/godwitd.sock" in ended.stdout + ended.stderr


def test_congestion_control_that_the_kernel_does_not_have(lab):
    text = (lab.root("node1") / "etc/godwit/godwit.toml").read_text()
    ended = start(lab, text.replace("data_listen", 'data_congestion_control = "fastest"\ndata_listen'))
    assert ended.returncode == 1
    assert "agent.data_congestion_control: the kernel has no congestion control 'fastest'" in ended.stdout + ended.stderr


def start(lab, text):
    place = lab.root("node1") / CONFIG.lstrip("/")
    place.write_text(text)
    try:
        return lab.exec("node1", "godwitd", "--config", CONFIG, check=False, timeout_s=10)
    finally:
        place.unlink()

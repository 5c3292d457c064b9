"""tools/lab keeps its promises: hosts that reach each other, one lab at a time, and nothing left behind.

No agents here (--no-agents): this is about the hosts. Run as root with /usr/bin/python3 -m pytest.
"""

import contextlib
import json
import os
import pathlib
import select
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
LAB = ROOT / "tools/lab"
STATE = pathlib.Path("/run/godwit-lab")


def lab(*arguments, check=True, timeout=60):
    done = subprocess.run([LAB, *arguments], capture_output=True, text=True, timeout=timeout)
    if check:
        assert done.returncode == 0, f"lab {' '.join(arguments)}: {done.stderr}"
    return done


def reaches(host, address):
    return lab("exec", host, "--", "ping", "-c1", "-W1", address, check=False).returncode == 0


def traces():
    """Everything on the machine that a lab could leave: names only, so that two of these can be compared."""
    mounts = pathlib.Path("/proc/self/mountinfo").read_text().splitlines()
    links = json.loads(subprocess.check_output(["ip", "-json", "link"], text=True))
    groups = subprocess.check_output(
        ["find", "/sys/fs/cgroup", "-type", "d", "-name", "lab-*"], text=True)
    processes = []
    for cgroup in pathlib.Path("/proc").glob("[0-9]*/cgroup"):
        try:
            # A zombie, waiting for the machine's init, has nothing of the lab any more.
            dead = (cgroup.parent / "stat").read_text().rsplit(")", 1)[1].split()[0] in "ZX"
            if not dead and "/lab-" in cgroup.read_text():
                processes.append(cgroup.parent.name)
        except OSError:
            pass  # it ended meanwhile
    return {
        "mounts": sorted(line.split()[4] for line in mounts),
        "links": sorted(link["ifname"] for link in links),
        "cgroups": groups.split(),
        "processes": processes,
        "paths": [path for path in ("/run/godwit-lab", "/run/godwit-lab.lock", "/run/netns",
                                    "/etc/godwit", "/var/lib/godwit") if os.path.exists(path)],
    }


@contextlib.contextmanager
def machine_is_as_before():
    if (STATE / "ready").exists():
        pytest.fail("a lab is up already; tools/lab down")
    lab("down")  # what an earlier, broken run left
    before = traces()
    yield
    lab("down")
    assert traces() == before


@pytest.fixture
def clean_machine():
    with machine_is_as_before():
        yield


# Of one lab for the tests that leave it as they found it.
@pytest.fixture(scope="module")
def one_lab():
    with machine_is_as_before():
        lab("up", "--no-agents")
        yield


@pytest.mark.usefixtures("clean_machine")
def test_up_and_down_can_be_repeated():
    for _ in range(2):
        lab("up", "--no-agents")
        assert reaches("client", "10.99.1.1")
        assert reaches("node1", "10.99.1.2")
        assert lab("status").stdout.count("node") >= 2
        lab("down")
        assert lab("status", check=False).returncode != 0
    lab("down")


@pytest.mark.usefixtures("clean_machine")
def test_hosts_number_is_chosen():
    lab("up", "--hosts", "3", "--no-agents")
    assert reaches("node1", "10.99.1.3")
    config = lab("exec", "node3", "--", "cat", "/etc/godwit/godwit.toml").stdout
    assert 'node = "node3"' in config
    assert 'node1 = "10.99.1.1:7410"' in config


@pytest.mark.parametrize("made", ["owner", "client/holder", "node1", "node2"])
@pytest.mark.usefixtures("clean_machine")
def test_half_made_lab_is_removed(made):
    process = subprocess.Popen([LAB, "up", "--no-agents"], stderr=subprocess.DEVNULL)
    while not (STATE / made).exists():
        assert process.poll() is None, "up ended before it could be killed"
        time.sleep(0.001)
    process.kill()
    process.wait()
    # up again starts from any debris, down from any half-made lab (the fixture checks that nothing stays).
    if made == "node1":
        lab("up", "--no-agents")
        assert reaches("client", "10.99.1.2")
    lab("down")
    assert traces()["processes"] == []


# As after the machine was stopped under it: the state in /run says "ready", and nothing of it lives.
@pytest.mark.usefixtures("clean_machine")
def test_dead_lab_is_in_nobodys_way():
    lab("up", "--no-agents")
    refused = lab("down", "--dead", check=False)
    assert refused.returncode != 0 and "a lab is up" in refused.stderr
    for holder in STATE.glob("*/holder"):
        pid = int(holder.read_text().split()[0])
        pidfd = os.pidfd_open(pid)
        os.kill(pid, signal.SIGKILL)
        select.select([pidfd], [], [])
        os.close(pidfd)
    (STATE / "owner").write_text("/usr\n2000-01-01 00:00:00\n")  # another checkout's
    lab("up", "--no-agents")
    lab("down")


@pytest.mark.usefixtures("clean_machine")
def test_down_ends_what_runs_on_a_host_frozen_or_not():
    lab("up", "--no-agents")
    sleeper = subprocess.Popen([LAB, "exec", "node1", "--", "sleep", "1000"])
    frozen = subprocess.Popen([LAB, "exec", "node1", "--", "sleep", "1000"])
    while any(pathlib.Path(f"/proc/{p.pid}/comm").read_text() != "sleep\n" for p in (sleeper, frozen)):
        time.sleep(0.005)
    lab("exec", "node1", "--", "sh", "-c", f"""
        set -e
        if [ -d /sys/fs/cgroup/freezer ]; then
            mkdir /sys/fs/cgroup/freezer/cold
            echo {frozen.pid} >/sys/fs/cgroup/freezer/cold/cgroup.procs
            echo FROZEN >/sys/fs/cgroup/freezer/cold/freezer.state
        else
            mkdir /sys/fs/cgroup/cold
            echo {frozen.pid} >/sys/fs/cgroup/cold/cgroup.procs
            echo 1 >/sys/fs/cgroup/cold/cgroup.freeze
        fi""")
    lab("down")
    assert sleeper.wait(5) == -9
    assert frozen.wait(5) == -9


@pytest.mark.parametrize("options", [["--only", "1"], ["--trunk", "lo"], ["--only", "1", "--authority", "/"],
                                     ["--only", "3", "--trunk", "lo", "--authority", "/"]])
@pytest.mark.usefixtures("clean_machine")
def test_a_part_of_a_lab_needs_a_way_to_the_others(options):
    refused = lab("up", "--no-agents", *options, check=False)
    assert refused.returncode != 0
    assert "--only takes one of the nodes" in refused.stderr


@pytest.mark.usefixtures("one_lab")
def test_second_lab_is_refused_and_the_first_unharmed():
    refused = lab("up", "--no-agents", check=False)
    assert refused.returncode != 0
    assert "already up" in refused.stderr
    assert reaches("client", "10.99.1.1")


@pytest.mark.usefixtures("one_lab")
def test_other_checkout_neither_makes_nor_removes_a_lab(tmp_path):
    other = tmp_path / "tools"
    subprocess.run(["cp", "-r", ROOT / "tools", other], check=True)
    for command, words in ((["up", "--no-agents"], "already up"), (["down"], str(ROOT))):
        done = subprocess.run([other / "lab", *command], capture_output=True, text=True)
        assert done.returncode != 0
        assert words in done.stderr
    assert reaches("client", "10.99.1.1")


@pytest.mark.usefixtures("one_lab")
def test_exec_runs_there_and_passes_the_status_on():
    done = lab("exec", "node2", "--", "sh", "-c", "hostname; echo $PATH; pwd; ls /run; exit 7", check=False)
    assert done.returncode == 7
    hostname, path, directory, *run = done.stdout.split()
    assert hostname == "node2"
    assert path.split(":")[1] == "/opt/godwit/criu/bin"
    assert directory == os.getcwd()
    assert run == ["lock", "netns"]
    assert lab("exec", "node9", "--", "true", check=False).returncode != 0


@pytest.mark.usefixtures("one_lab")
def test_hosts_share_no_cgroup_and_no_run_directory():
    lab("exec", "node1", "--", "sh", "-c", """
        touch /run/mine
        for group in $(find /sys/fs/cgroup -maxdepth 2 -name cgroup.procs -printf '%h '); do mkdir $group/mine; done""")
    find = "find /run /sys/fs/cgroup -name mine"
    assert len(lab("exec", "node1", "--", "sh", "-c", find).stdout.split()) >= 2
    assert lab("exec", "node2", "--", "sh", "-c", find).stdout == ""


@pytest.mark.usefixtures("one_lab")
def test_container_namespace_is_reached_from_the_client():
    lab("netns", "node1", "web", "--ip", "10.99.2.10/16", "--ip", "fd00:99::2:10/64", "--gw", "10.99.1.1")
    assert reaches("client", "10.99.2.10")
    assert reaches("client", "fd00:99::2:10")
    assert lab("exec", "node2", "--", "ls", "/run/netns").stdout == ""
    again = lab("netns", "node1", "web", "--ip", "10.99.2.11/16", check=False)
    assert again.returncode != 0
    assert reaches("client", "10.99.2.10")


@pytest.mark.usefixtures("one_lab")
def test_connections_between_nodes_use_cubic_and_stay_in_order():
    for family, lan in (("-4", "10.99.0.0/16"), ("-6", "fd00:99::/64")):
        assert "congctl cubic" in lab("exec", "node2", "--", "ip", family, "route", "show", lan).stdout
    for port in ("node1", "node2", "client"):
        mask = lab("exec", "lan", "--", "cat", f"/sys/class/net/{port}/queues/rx-0/rps_cpus").stdout
        assert bin(int(mask.replace(",", ""), 16)).count("1") == min(len(os.sched_getaffinity(0)), 32)


@pytest.mark.usefixtures("one_lab")
def test_uplink_is_cut_mended_and_shaped():
    lab("link", "node1", "--cut")
    assert not reaches("client", "10.99.1.1")
    assert reaches("client", "10.99.1.2")
    lab("link", "node1", "--mend")
    assert reaches("client", "10.99.1.1")
    lab("link", "node1", "--rate", "1gbit")
    for host, device in (("node1", "uplink"), ("lan", "node1")):
        assert "rate 1Gbit" in lab("exec", host, "--", "tc", "qdisc", "show", "dev", device).stdout
    assert reaches("client", "10.99.1.1")
    assert lab("link", "node1", "--rate", "nonsense", check=False).returncode != 0


@pytest.mark.usefixtures("one_lab")
def test_machine_itself_has_no_part_in_the_lab():
    assert "10.99." not in subprocess.check_output(["ip", "-4", "address"], text=True)
    assert "10.99." not in subprocess.check_output(["ip", "-4", "route"], text=True)
    assert "default" not in lab("exec", "node1", "--", "ip", "route").stdout


# The hosts of a lab are the machines of another.
@pytest.mark.usefixtures("one_lab")
def test_nodes_may_be_on_several_machines(tmp_path):
    def on(machine, *words, check=True):
        return lab("exec", machine, "--", str(LAB), *words, check=check)

    def reaches_from_client(address):
        return on("node1", "exec", "client", "--", "ping", "-c1", "-W1", address, check=False).returncode == 0

    ends = ["netns", (STATE / "node1/holder").read_text().split()[0], "type", "veth", "peer", "name", "trunk", "netns",
            (STATE / "node2/holder").read_text().split()[0]]
    subprocess.run(["ip", "link", "add", "trunk", *ends], check=True)
    try:
        for number in ("1", "2"):
            on(f"node{number}", "up", "--no-agents", "--only", number, "--trunk", "trunk", "--authority", str(tmp_path))
        assert "node2    on another machine" in on("node1", "status").stdout
        assert reaches_from_client("10.99.1.2")
        done = on("node1", "exec", "node2", "--", "sh", "-c", "hostname; exit 7", check=False)
        assert (done.returncode, done.stdout) == (7, "node2\n")
        assert on("node2", "exec", "node1", "--", "hostname").stdout == "node1\n"
        on("node1", "netns", "node2", "web", "--ip", "10.99.2.10/16")
        assert reaches_from_client("10.99.2.10")
        on("node1", "link", "node2", "--rate", "1gbit")
        assert "rate 1Gbit" in on("node1", "exec", "node2", "--", "tc", "qdisc", "show", "dev", "uplink").stdout
        # The answer would not come back.
        refused = on("node1", "link", "node2", "--cut", check=False)
        assert refused.returncode != 0 and "cut it there" in refused.stderr
        assert reaches_from_client("10.99.2.10")
    finally:
        for machine in ("node1", "node2"):
            on(machine, "down")

"""Who may use the agent's unix socket: root, and the group godwit where there is one."""

import os
import pathlib
import stat


def socket_of(lab):
    return lab.root("node2") / "run/godwit/godwitd.sock"


def as_nobody(lab, *groups):
    groups = [f"--groups={','.join(groups)}"] if groups else ["--clear-groups"]
    return lab.exec("node2", "setpriv", "--reuid=nobody", "--regid=nogroup", *groups, "godwit", "ps", check=False)


def test_only_root_may_use_the_unix_socket(lab):
    found = os.stat(socket_of(lab))
    assert stat.S_IMODE(found.st_mode) == 0o660 and found.st_uid == found.st_gid == 0
    refused = as_nobody(lab)
    assert refused.returncode == 4
    assert "ermission" in refused.stderr


def test_group_godwit_may_use_it(lab):
    """Where the group exists; here for one node and the time of the test."""
    groups = lab.root("node2") / "run/group"
    groups.write_text(pathlib.Path("/etc/group").read_text() + "godwit:x:54321:\n")
    lab.exec("node2", "mount", "-n", "--bind", "/run/group", "/etc/group")
    try:
        lab.agent("node2", "stop")
        lab.agent("node2", "start")
        assert os.stat(socket_of(lab)).st_gid == 54321
        allowed = as_nobody(lab, "54321")
        assert allowed.returncode == 0, allowed.stderr
        assert as_nobody(lab).returncode == 4
    finally:
        lab.exec("node2", "umount", "-n", "/etc/group")
        groups.unlink()
        lab.agent("node2", "stop")
        lab.agent("node2", "start")

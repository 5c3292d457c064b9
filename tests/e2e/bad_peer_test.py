"""Agents that cannot be reached, cannot be trusted, or speak another language: each with its own words."""

import subprocess
import time

from tests.support.agent_setup import AUTHORITY, certified, configured, godwit, make_certificate
from tests.support.paths import BUILD
from tests.support.refusal import assert_both_refuse, assert_check_finds, assert_refused

NODE1, NODE2 = "10.99.1.1", "10.99.1.2"


def expired(directory, name, ip):
    """A certificate of the lab's CA that has expired: `godwit pki` makes none, openssl does."""
    subject = directory / "subject.ext"
    subject.write_text(f"subjectAltName=DNS:{name},IP:{ip}\nextendedKeyUsage=serverAuth,clientAuth\n")
    request = subprocess.run(["openssl", "req", "-new", "-key", directory / "host.key", "-subj", f"/CN={name}"],
                             check=True, capture_output=True).stdout
    subprocess.run(["openssl", "x509", "-req", "-CA", AUTHORITY / "ca.crt", "-CAkey", AUTHORITY / "ca.key", "-days",
                    "0", "-extfile", subject, "-out", directory / "host.crt"], input=request, check=True,
                   capture_output=True)
    while subprocess.run(["openssl", "x509", "-noout", "-checkend", "0", "-in", directory / "host.crt"],
                         capture_output=True).returncode == 0:
        time.sleep(0.05)  # it is good up to the second in which it was made


def of_another_authority(directory, name, ip, tmp_path):
    godwit("pki", "ca", "--dir", str(tmp_path / "ca"), "--days", "1")
    make_certificate(directory, name, ip, authority=tmp_path / "ca")


def test_agent_that_does_not_run(lab, echo):
    lab.agent("node2", "stop")
    try:
        assert_both_refuse(lab, echo, "node2", "connection", f"cannot reach node2: {NODE2}:7410", "Connection refused")
    finally:
        lab.agent("node2", "start")


def test_host_without_link(lab, echo):
    lab.link("node2", "--cut")
    try:
        assert_refused(lab, echo, "node2", f"cannot reach node2: {NODE2}:7410: no answer in time")
    finally:
        lab.link("node2", "--mend")


def test_certificate_of_another_authority(lab, echo, tmp_path):
    with certified(lab, "node2", lambda directory: of_another_authority(directory, "node2", NODE2, tmp_path)):
        assert_both_refuse(lab, echo, "node2", "connection", "cannot reach node2",
                           f"certificate of {NODE2}:7410 is not acceptable: it was not signed by our CA")


def test_own_certificate_of_another_authority(lab, echo, tmp_path):
    """The source trusts the target, which does not trust the source."""
    def change(directory):
        trusted = (directory / "ca.crt").read_bytes()
        of_another_authority(directory, "node1", NODE1, tmp_path)
        (directory / "ca.crt").write_bytes(trusted)
    with certified(lab, "node1", change):
        assert_both_refuse(lab, echo, "node2", "connection", "cannot reach node2", "does not accept our certificate",
                           "/etc/godwit/tls/host.crt is not signed by the CA in /etc/godwit/tls/ca.crt")


def test_certificate_with_another_name(lab, echo):
    """Another host of the cluster at the address where node2 is expected."""
    with configured(lab, "node1", (f'node2 = "{NODE2}:7410"', f'node3 = "{NODE2}:7410"')):
        assert_both_refuse(lab, echo, "node3", "connection", "cannot reach node3", "is named 'node2', not 'node3'")


def test_source_that_is_not_among_the_peers(lab, echo):
    with configured(lab, "node2", (f'node1 = "{NODE1}:7410"\n', "")):
        assert_both_refuse(lab, echo, "node2", "connection", "this host is not among the peers of node2")


def test_agent_refuses_to_start_with_the_name_of_another(lab):
    """As if the certificate of another host had been copied: the agent would be refused by everyone."""
    place = lab.root("node2") / "run/misnamed.toml"
    place.write_text((lab.root("node2") / "etc/godwit/godwit.toml").read_text().replace('"node2"\n', '"node9"\n', 1))
    try:
        ended = lab.exec("node2", "godwitd", "--config", "/run/misnamed.toml", check=False, timeout_s=10)
    finally:
        place.unlink()
    assert ended.returncode == 1
    assert "is not a certificate of 'node9'" in ended.stderr + ended.stdout


def test_expired_certificate_of_the_target(lab, echo):
    with certified(lab, "node2", lambda directory: expired(directory, "node2", NODE2)):
        assert "the certificate expired on" in lab.agent_log("node2")
        assert_both_refuse(lab, echo, "node2", "connection", "cannot reach node2",
                           f"certificate of {NODE2}:7410 is not acceptable: certificate has expired")


def test_expired_certificate_of_the_source(lab, echo):
    with certified(lab, "node1", lambda directory: expired(directory, "node1", NODE1)):
        assert "the certificate expired on" in lab.agent_log("node1")
        assert_both_refuse(lab, echo, "node2", "connection", "cannot reach node2", "does not accept our certificate",
                           "/etc/godwit/tls/host.crt: the certificate expired on")


def test_target_of_another_protocol_version(lab, echo, monkeypatch):
    lab.agent("node2", "stop")
    try:
        with monkeypatch.context() as patch:
            patch.setenv("LAB_BIN", str(BUILD / "bin/other_version"))
            lab.agent("node2", "start")
        assert_both_refuse(lab, echo, "node2", "connection", "speaks protocol 2.0", "99.0", "majors must be equal")
    finally:
        lab.agent("node2", "stop")
        lab.agent("node2", "start")


def test_source_of_another_protocol_version(lab, echo, monkeypatch):
    lab.agent("node1", "stop")
    try:
        with monkeypatch.context() as patch:
            patch.setenv("LAB_BIN", str(BUILD / "bin/other_version"))
            lab.agent("node1", "start")
        assert_both_refuse(lab, echo, "node2", "connection", "speaks protocol 99.0", "2.0", "majors must be equal")
    finally:
        lab.agent("node1", "stop")
        lab.agent("node1", "start")


def test_no_local_agent(lab, echo):
    lab.agent("node1", "stop")
    try:
        result = lab.exec("node1", "godwit", "migrate", echo.name, "--to", "node2", check=False)
        assert result.returncode == 4
        assert "godwitd" in result.stderr
        assert echo.status(lab) == "running"
    finally:
        lab.agent("node1", "start")


def test_what_check_says_goes_to_the_peer_that_was_asked(lab, echo):
    assert_check_finds(lab, "node1", echo.name, "node9", "connection", "unknown host 'node9'")

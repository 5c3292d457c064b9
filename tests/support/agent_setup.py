"""Changes to an agent's configuration and certificates, for the time of a test."""

import contextlib
import shutil
import subprocess

from .lab import STATE
from .paths import BUILD

CONFIG = "etc/godwit/godwit.toml"
TLS = "etc/godwit/tls"
AUTHORITY = STATE / "pki"


@contextlib.contextmanager
def configured(lab, node, *changes):
    """The node's agent, started again with every (old, new) text in CHANGES replaced in its configuration."""
    path = lab.root(node) / CONFIG
    before = text = path.read_text()
    for old, new in changes:
        assert old in text, f"'{old}' is not in the lab's godwit.toml"
        text = text.replace(old, new)
    with _restarted(lab, node, lambda: path.write_text(text), lambda: path.write_text(before)):
        yield


@contextlib.contextmanager
def configured_everywhere(lab, *changes):
    """configured() on every host."""
    with contextlib.ExitStack() as stack:
        for node in lab.nodes:
            stack.enter_context(configured(lab, node, *changes))
        yield


@contextlib.contextmanager
def certified(lab, node, make):
    """The node's agent, started again with the files that MAKE(directory) puts over its certificates."""
    directory = lab.root(node) / TLS
    kept = directory.with_name("tls.kept")

    def change():
        shutil.copytree(directory, kept)
        make(directory)

    def restore():
        shutil.rmtree(directory)
        kept.rename(directory)

    with _restarted(lab, node, change, restore):
        yield


def make_certificate(directory, name, ip, authority=AUTHORITY, days=1):
    godwit("pki", "host", name, "--ip", ip, "--ca", str(authority), "--out", str(directory), "--days", str(days))


def godwit(*arguments):
    subprocess.run([str(BUILD / "bin" / "godwit"), *arguments], check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def _restarted(lab, node, change, restore):
    lab.agent(node, "stop")
    try:
        change()
        try:
            lab.agent(node, "start")
            yield
        finally:
            lab.agent(node, "stop")
    finally:
        restore()
        lab.agent(node, "start")

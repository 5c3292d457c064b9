"""tools/check-layers lets the tree pass and names each kind of violation with its file and line."""

import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]

HEADERS = ["base/result.h", "kernel/proc.h", "wire/frame.h", "network/mac.h", "runtime/runc.h", "migration/host.h",
           "agent/config.h", "cli/format.h"]


def check(root=ROOT):
    done = subprocess.run([ROOT / "tools/check-layers", root], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)
    return done.returncode, done.stdout


@pytest.fixture
def tree(tmp_path):
    for header in HEADERS:
        path = tmp_path / "src" / header
        path.parent.mkdir(parents=True)
        path.write_text("#pragma once\n")
    return tmp_path


def test_this_tree_is_layered():
    status, said = check()
    assert status == 0, said


def test_downward_includes_pass(tree):
    (tree / "src/migration/host.cc").write_text(
        '#include "migration/host.h"\n#include <vector>\n#include "base/result.h"\n#include "network/mac.h"\n'
        '#include "peer.pb.h"\n')
    (tree / "src/agent/main.cc").write_text('#include "peer.grpc.pb.h"\n#include <grpcpp/grpcpp.h>\n')
    status, said = check(tree)
    assert status == 0, said


@pytest.mark.parametrize("file, include, reason", [
    ("base/x.cc", '"kernel/proc.h"', "base includes kernel/proc.h, but kernel is above it"),
    ("network/x.h", '"migration/host.h"', "network includes migration/host.h, but migration is above it"),
    ("network/x.cc", '"runtime/runc.h"', "network includes runtime/runc.h, but runtime is a sibling"),
    ("cli/x_test.cc", '"agent/config.h"', "cli includes agent/config.h, but agent is a sibling"),
    ("kernel/x.cc", '"peer.pb.h"', "kernel includes peer.pb.h: messages are wire's"),
    ("migration/x.cc", '"peer.grpc.pb.h"', "gRPC is only for cli and agent"),
    ("migration/x.cc", "<grpcpp/channel.h>", "gRPC is only for cli and agent"),
    ("network/x.cc", '"mac.h"', "there is no src/mac.h"),
    ("network/x.cc", '"../base/result.h"', "there is no src/../base/result.h"),
    ("network/x.cc", "<network/mac.h>", "include it in quotes"),
    ("extra/x.cc", "<vector>", "src/extra is no layer"),
])
def test_violation_is_named_with_its_line(tree, file, include, reason):
    path = tree / "src" / file
    path.parent.mkdir(exist_ok=True)
    first = "" if "no layer" in reason else "\n\n"
    path.write_text(f"{first}#include {include}\n")
    status, said = check(tree)
    assert status == 1
    assert f"src/{file}:{3 if first else 1}: " in said and reason in said, said

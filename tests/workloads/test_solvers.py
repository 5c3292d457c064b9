"""The programs that end with a result they have verified: stencil and conjugate_gradient."""

import json
import os
import subprocess
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../.."))

from tests.support.paths import workload  # noqa: E402

PROGRAMS = {"stencil": ["--sweeps", "20"], "conjugate_gradient": ["--iterations", "20"]}


def run(name, *options, threads=1):
    return subprocess.run([workload(name), *options], capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": str(threads)})


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_result_is_right_and_the_same_to_the_last_bit_whatever_the_number_of_threads(name):
    said = [run(name, "--mib", "2", *PROGRAMS[name], threads=threads).stdout for threads in (1, 2, 3)]
    assert json.loads(said[0])["ok"] and len(set(said)) == 1


@pytest.mark.parametrize("name", PROGRAMS)
def test_more_steps_give_another_result(name):
    option = PROGRAMS[name][0]
    assert run(name, "--mib", "2", option, "20").stdout != run(name, "--mib", "2", option, "21").stdout


def test_conjugate_gradients_converge():
    said = json.loads(run("conjugate_gradient", "--mib", "1", "--iterations", "1000").stdout)
    assert said["ok"] and float.fromhex(said["true_residual"]) < 1e-6


@pytest.mark.parametrize("name", PROGRAMS)
def test_too_small_is_refused(name):
    assert run(name, "--mib", "0").returncode == 2

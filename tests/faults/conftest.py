"""The lab, its containers and its clients are those of tests/e2e."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from tests.e2e.conftest import (client, echo, keep, lab, one_lab, pytest_runtest_makereport,  # noqa: E402,F401
                                slow_link)


def pytest_configure(config):
    config.addinivalue_line("markers", "cleaned_within_s(seconds): see tests/e2e/conftest.py")
    config.addinivalue_line("markers", "fast: part of `make test`")

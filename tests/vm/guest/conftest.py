"""The lab, with the rules of the end-to-end tests."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3]))
from tests.e2e.conftest import echo, keep, lab, one_lab, pytest_configure  # noqa: E402, F401

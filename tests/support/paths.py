"""Where things are in the repository."""

import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"
# GODWIT_BUILD: a build directory of another preset or place.
BUILD = pathlib.Path(os.environ.get("GODWIT_BUILD", ROOT / "build" / "default"))
# GODWIT_SHARED: a directory that all hosts of the lab see, where they are on several machines.
SHARED = pathlib.Path(os.environ["GODWIT_SHARED"]) if "GODWIT_SHARED" in os.environ else None


def workload(name):
    path = BUILD / "bin" / "workloads" / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `make build` first")
    return str(path)

"""Raw results as JSON lines, one for each session (machine, versions, command) and one for each sample. Lines are only
ever appended, each with one write, so an interrupted run has lost at most the sample it was at."""

import json
import os


class ResultsError(Exception):
    """The file is not one of results; the text says which line."""


def read(path):
    """(sessions, samples); of each sample, the machine of its session. A last line without its end, of a run that was
    killed, is left out."""
    sessions, samples = [], []
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().split("\n")
    except FileNotFoundError:
        return sessions, samples
    for number, line in enumerate(lines[:-1], 1):
        try:
            entry = json.loads(line)
            {"session": sessions, "sample": samples}[entry["kind"]].append(entry)
            entry.setdefault("machine", sessions[-1]["machine"] if sessions else {})
        except (ValueError, KeyError, TypeError) as error:
            raise ResultsError(f"{path}: line {number} is no result: {line[:80]!r}") from error
    return sessions, samples


def check_same(path, samples, cells):
    """Those of PATH must be of CELLS as they are now: an experiment may have been changed under its name since."""
    now = {(cell.experiment, cell.label): cell for cell in cells}
    for sample in samples:
        cell = now.get(tuple(sample["key"].split("|")[:2]))
        if cell is None:
            continue
        for what in ("workload", "parameters", "conditions"):
            if sample[what] != getattr(cell, what):
                raise ResultsError(f"{path}: those of {cell.experiment} have other {what}, {sample[what]}, than the file's "
                                   f"{getattr(cell, what)}; without --resume it is measured anew")


def mend(path):
    """Takes away a last line without its end, so that the next is not written behind it."""
    try:
        with open(path, "rb+") as file:
            content = file.read()
            file.truncate(content.rfind(b"\n") + 1)
    except FileNotFoundError:
        pass


class Writer:
    def __init__(self, path):
        path.parent.mkdir(parents=True, exist_ok=True)
        mend(path)
        self._file = open(path, "ab", buffering=0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._file.close()

    def append(self, kind, entry):
        self._file.write(json.dumps({"kind": kind} | entry, separators=(",", ":")).encode() + b"\n")
        os.fsync(self._file.fileno())

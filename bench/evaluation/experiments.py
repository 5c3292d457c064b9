"""A TOML file of experiments, read and checked. Whatever is wrong in it is an ExperimentError that says where.

    title = "…"
    budget_minutes = 9           # optional: repetitions are left out once a cell has had its share of the time

    [defaults]                   # of every experiment below; optional
    repetitions = 10
    warmups = 1

    [[experiment]]
    name = "redis"               # lower case, digits, hyphens; unique
    title = "Redis"              # of its figures
    workload = "redis"           # workloads.py, programs.py
    methods = ["runc-tmpfs", "godwit-hybrid"]       # methods.py
    repetitions = 10             # of each method in each cell, besides warmups
    warmups = 1
    sample_s = 3.0               # optional: what one takes on an ordinary machine, for the estimate before it is known
    [experiment.parameters]      # the workload's; a list means one cell for each value
    mib = [64, 256]
    [experiment.conditions]      # the same
    link = ["unshaped", "1gbit"] # unshaped, or a rate as tc writes it
    latency_ms = 0               # one way
    streams = 1                  # godwit's --streams, --compress, --downtime-max, --rounds-max
    compress = "none"
    downtime_max = "50ms"
    rounds_max = 30
    migrations = [0, 1, 5]       # only for programs that end: how often each moves while it runs
    settle_s = 0.3               # watched before the migration
    after_s = 0.3                # and after its last page
"""

import dataclasses
import itertools
import re
import tomllib

from . import methods, programs, workloads

CONDITIONS = {"link": "unshaped", "latency_ms": 0, "streams": 1, "compress": "none", "downtime_max": "50ms",
              "rounds_max": 30, "migrations": 1, "settle_s": 0.3, "after_s": 0.3}
# Conditions that only godwit's methods know.
GODWIT_ONLY = ("streams", "compress", "downtime_max", "rounds_max")
DEFAULTS = {"repetitions": 10, "warmups": 1}
TOP_KEYS = {"title", "budget_minutes", "defaults", "experiment"}
EXPERIMENT_KEYS = {"name", "title", "workload", "methods", "repetitions", "warmups", "sample_s", "parameters",
                   "conditions"}


class ExperimentError(Exception):
    """The file says something that cannot be done; the text has file and place."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One workload with one set of parameters under one set of conditions; every method is measured in it."""

    experiment: str
    title: str
    workload: str
    parameters: dict
    conditions: dict
    methods: list
    repetitions: int
    warmups: int
    sample_s: float | None  # what a sample usually takes
    varied: list  # the names of parameters and conditions that differ between the experiment's cells

    @property
    def label(self):
        """Of what differs from other cells: "mib=64 link=1gbit"."""
        values = self.parameters | self.conditions
        return " ".join(f"{name}={values[name]}" for name in self.varied)


@dataclasses.dataclass(frozen=True)
class Suite:
    title: str
    budget_s: float | None
    cells: list


def load(path):
    try:
        with open(path, "rb") as file:
            return parse(tomllib.load(file), str(path))
    except OSError as error:
        raise ExperimentError(f"{path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise ExperimentError(f"{path}: not TOML: {error}") from error


def parse(document, path="experiments"):
    _check_keys(document, TOP_KEYS, path)
    defaults = document.get("defaults", {})
    _check_keys(defaults, set(DEFAULTS), f"{path}: [defaults]")
    budget = document.get("budget_minutes")
    if budget is not None and not (_is_number(budget) and budget > 0):
        raise ExperimentError(f"{path}: budget_minutes must be a number above 0, is {budget!r}")
    entries = document.get("experiment")
    if not isinstance(entries, list) or not entries:
        raise ExperimentError(f"{path}: there is no [[experiment]]")
    cells, names = [], set()
    for number, entry in enumerate(entries, 1):
        place = f"{path}: experiment {number} ({entry.get('name', 'without a name')})"
        cells += _cells(DEFAULTS | defaults | entry, place)
        if entry["name"] in names:
            raise ExperimentError(f"{place}: the name is taken by an experiment before it")
        names.add(entry["name"])
    return Suite(str(document.get("title", "Evaluation")), budget * 60 if budget else None, cells)


def _cells(entry, place):
    _check_keys(entry, EXPERIMENT_KEYS, place)
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", str(entry.get("name", ""))):
        raise ExperimentError(f"{place}: name must be lower-case letters, digits and hyphens")
    for key, least in (("repetitions", 1), ("warmups", 0)):
        if type(entry[key]) is not int or not least <= entry[key] <= 10000:
            raise ExperimentError(f"{place}: {key} must be a whole number from {least} on, is {entry[key]!r}")
    if not (_is_number(entry.get("sample_s", 1)) and entry.get("sample_s", 1) > 0):
        raise ExperimentError(f"{place}: sample_s must be a number above 0, is {entry['sample_s']!r}")
    known = _workload_parameters(entry.get("workload"), place)
    parameters = _crossed(entry.get("parameters", {}), known, f"{place}: parameters")
    conditions = _crossed(entry.get("conditions", {}), CONDITIONS, f"{place}: conditions")
    wanted = _methods(entry, place)
    cells = [_cell(entry, one, other, wanted) for one in parameters for other in conditions]
    for cell in cells:
        _check_conditions(cell, place)
    return cells


def _cell(entry, parameters, conditions, wanted):
    varied = [name for table in ("parameters", "conditions") for name, value in entry.get(table, {}).items()
              if isinstance(value, list) and len(value) > 1]
    if conditions["migrations"] == 0:
        wanted = ["unmoved"]  # one run without is as good as another
    return Cell(entry["name"], str(entry.get("title", entry["name"])), entry["workload"], parameters, conditions,
                wanted, entry["repetitions"], entry["warmups"], entry.get("sample_s"), varied)


def _workload_parameters(name, place):
    known = workloads.WORKLOADS | programs.PROGRAMS
    if not isinstance(name, str) or name not in known:
        raise ExperimentError(f"{place}: unknown workload {name!r} (of: {' '.join(sorted(known))})")
    return known[name].PARAMETERS


def _methods(entry, place):
    wanted = entry.get("methods")
    engines = getattr((workloads.WORKLOADS | programs.PROGRAMS)[entry["workload"]], "ENGINES", ("runc",))
    if wanted == "all":
        wanted = [name for name, method in methods.METHODS.items() if method.engine in engines]
    if not isinstance(wanted, list) or not wanted:
        raise ExperimentError(f'{place}: methods must be "all" or a list of some (of: {" ".join(methods.METHODS)})')
    for method in wanted:
        if method not in methods.METHODS:
            what = "mode of godwit" if str(method).startswith("godwit-") else "method"
            raise ExperimentError(f"{place}: methods: unknown {what} {method!r} (of: {' '.join(methods.METHODS)})")
        if methods.METHODS[method].engine not in engines:
            raise ExperimentError(f"{place}: methods: {method} cannot start {entry['workload']}")
    if len(set(wanted)) != len(wanted):
        raise ExperimentError(f"{place}: methods: one is named twice")
    return wanted


def _crossed(given, known, place):
    """Every combination of the values given, over the defaults."""
    if not isinstance(given, dict):
        raise ExperimentError(f"{place} must be a table")
    _check_keys(given, set(known), place)
    names, choices = list(given), []
    for name, value in given.items():
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ExperimentError(f"{place}: {name}: the list is empty")
        for one in values:
            _check_type(one, known[name], f"{place}: {name}")
        choices.append(values)
    return [known | dict(zip(names, chosen)) for chosen in itertools.product(*choices)]


def _check_type(value, like, place):
    if isinstance(like, str):
        fits, wanted = isinstance(value, str), "a text"
    elif isinstance(like, int):
        fits, wanted = type(value) is int and value >= 0, "a whole number from 0 on"
    else:
        fits, wanted = _is_number(value) and value >= 0, "a number from 0 on"
    if not fits:
        raise ExperimentError(f"{place}: must be {wanted}, is {value!r}")


def _check_conditions(cell, place):
    conditions = cell.conditions
    if not re.fullmatch(r"unshaped|[1-9]\d*(\.\d+)?[kmg]bit", conditions["link"]):
        raise ExperimentError(f"{place}: link must be \"unshaped\" or a rate such as \"1gbit\", is {conditions['link']!r}")
    if conditions["compress"] not in ("auto", "none", "lz4", "zstd"):
        raise ExperimentError(f"{place}: compress must be auto, none, lz4 or zstd, is {conditions['compress']!r}")
    if not 1 <= conditions["streams"] <= 16:
        raise ExperimentError(f"{place}: streams must be 1 to 16, is {conditions['streams']}")
    if not re.fullmatch(r"\d+(\.\d+)?(ms|s)", conditions["downtime_max"]):
        raise ExperimentError(f"{place}: downtime_max must be a time such as \"50ms\", is {conditions['downtime_max']!r}")
    if conditions["migrations"] != 1 and cell.workload not in programs.PROGRAMS:
        raise ExperimentError(f"{place}: migrations: {cell.workload} does not end, so it is moved once at a time")
    if cell.workload in programs.PROGRAMS and cell.conditions["migrations"] > 100:
        raise ExperimentError(f"{place}: migrations must be 0 to 100, is {conditions['migrations']}")
    changed = [name for name in GODWIT_ONLY if conditions[name] != CONDITIONS[name]]
    others = [method for method in cell.methods if method in methods.METHODS and not method.startswith("godwit-")]
    if changed and others:
        raise ExperimentError(f"{place}: {changed[0]} is godwit's alone; {others[0]} does not know it")


def _is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _check_keys(table, known, place):
    if not isinstance(table, dict):
        raise ExperimentError(f"{place}: must be a table")
    for key in table:
        if key not in known:
            raise ExperimentError(f"{place}: unknown key {key!r} (of: {' '.join(sorted(known))})")

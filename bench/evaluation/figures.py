"""The report's figures: each is one SVG made by matplotlib, small enough to be read on a telephone, and a sentence that
says what it shows. A figure without data is left out."""

import dataclasses
import io

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot  # noqa: E402

from . import bootstrap, series  # noqa: E402
from .series import MEASURES, number, title_of  # noqa: E402

SIZE_INCHES = (4.6, 3.3)
STYLE = {"svg.fonttype": "none", "font.size": 9, "font.family": "sans-serif", "axes.spines.top": False,
         "axes.spines.right": False, "axes.grid": True, "grid.color": "#e4e4e4", "axes.axisbelow": True,
         "figure.constrained_layout.use": True, "legend.frameon": False, "legend.fontsize": 8}
# Readable by those who do not see red and green apart (Okabe and Ito): others in warm, godwit in cool colours.
COLOURS = {"unmoved": "#777777", "runc-disk": "#8c510a", "runc-tmpfs": "#d55e00", "runc-page-server": "#e69f00",
           "runc-precopy": "#f0c060", "criu-lazy-pages": "#cc79a7", "podman": "#882255", "godwit-cold": "#003f5c",
           "godwit-precopy": "#0072b2", "godwit-postcopy": "#56b4e9", "godwit-hybrid": "#009e73",
           "godwit-auto": "#66c2a5"}
PHASES = {"freeze": "#4d4d4d", "dump": "#0072b2", "transfer": "#e69f00", "restore": "#009e73", "resume": "#cc79a7"}
AXES = {"mib": "MiB in the container", "rate_mb": "MB/s written", "rounds_max": "rounds allowed",
        "processes": "processes", "connections": "connections", "link": "link", "latency_ms": "latency, ms one way",
        "compress": "compression", "streams": "streams", "migrations": "migrations"}


@dataclasses.dataclass
class Figure:
    name: str  # unique; the id in the page
    title: str
    text: str  # what it shows
    svg: str


def all_of(results):
    with pyplot.rc_context(STYLE):
        return [figure for figure in _figures(results) if figure]


def _figures(results):
    for experiment in results.experiments():
        varied = results.varied(experiment)
        if not results.of(experiment):
            continue
        if varied == "migrations" or results.methods(experiment) == ["unmoved"] or _is_program(results, experiment):
            yield _completion(results, experiment)
        elif varied:
            for measure in ("downtime", "client_gap", "total", "bytes", "memory", "cpu"):
                yield _by_value(results, experiment, varied, measure)
            yield _freeze_by_value(results, experiment, varied)
        else:
            yield from _of_methods(results, experiment)
        if varied == "rounds_max":
            yield _pages_by_round(results, experiment)


def _is_program(results, experiment):
    return any("completion_s" in sample for sample in results.of(experiment))


def _of_methods(results, experiment):
    for measure in ("downtime", "client_gap", "standstill"):
        yield _distribution(results, experiment, measure)
    for measure in ("total", "bytes", "memory", "disk", "cpu"):
        yield _bars(results, experiment, measure)
    yield _freeze(results, experiment)
    yield _memory_over_time(results, experiment)
    yield _pace(results, experiment)


# --- The kinds of figures ---

def _distribution(results, experiment, measure):
    """Every sample as a point, the median as a line."""
    rows = [(method, figures) for method in results.methods(experiment)
            if (figures := series.values(results.of(experiment, method), measure))]
    if not rows:
        return None
    found = MEASURES[measure]
    figure, axes = _canvas(rows=len(rows))
    for place, (method, figures) in enumerate(reversed(rows)):
        axes.scatter(figures, [place + _jitter(i) for i in range(len(figures))], s=14, color=COLOURS[method], alpha=0.7)
        axes.vlines(bootstrap.median(figures), place - 0.35, place + 0.35, color=COLOURS[method], linewidth=2)
    _label_rows(axes, [title_of(method) for method, _ in rows])
    axes.set_xlim(left=0)
    axes.set_xlabel(found.unit)
    text = (f"Each point is one migration, each stroke a median. {_extremes(rows, found)}")
    return _finish(figure, f"{experiment}-{measure}", f"{results.title(experiment)}: {found.title}", text)


def _bars(results, experiment, measure):
    found = MEASURES[measure]
    rows = [(method, spread) for method in results.methods(experiment)
            if (spread := series.spread(results.of(experiment, method), measure))]
    if not rows:
        return None
    figure, axes = _canvas(rows=len(rows))
    for place, (method, (middle, low, high, _)) in enumerate(reversed(rows)):
        share = series.share_of_source(results.of(experiment, method), measure)
        axes.barh(place, middle, color=COLOURS[method], height=0.65, alpha=1 if share is None else 0.5)
        if share:
            axes.barh(place, middle * share, color=COLOURS[method], height=0.65)
        axes.hlines(place, low, high, color="black", linewidth=1)
        axes.annotate(number(middle), (max(middle, high), place), xytext=(3, 0), textcoords="offset points", va="center",
                      fontsize=8)
    _label_rows(axes, [title_of(method) for method, _ in rows])
    axes.margins(x=0.15)
    axes.set_xlabel(found.unit)
    text = (f"Medians; the strokes are their 95 % confidence intervals. "
            f"{'The dark part is the source, the light part the target. ' if found.sides else ''}"
            f"{_extremes([(m, [s[0]]) for m, s in rows], found)}")
    return _finish(figure, f"{experiment}-{measure}", f"{results.title(experiment)}: {found.title}", text)


def _by_value(results, experiment, varied, measure):
    found = MEASURES[measure]
    ordered = list(dict.fromkeys(series.value_of(sample, varied) for sample in results.of(experiment)))
    figure, axes = _canvas()
    lines, ends = 0, []
    for method in results.methods(experiment):
        points = [(place, spread) for place, value in enumerate(ordered)
                  if (spread := series.spread(results.of(experiment, method, **{varied: value}), measure))]
        if not points:
            continue
        lines += 1
        places, spreads = zip(*points)
        middles = [spread[0] for spread in spreads]
        errors = [[spread[0] - spread[1] for spread in spreads], [spread[2] - spread[0] for spread in spreads]]
        axes.errorbar(places, middles, yerr=[[max(0, e) for e in side] for side in errors], marker="o", markersize=4,
                      capsize=2, linewidth=1.3, color=COLOURS[method], label=title_of(method))
        ends.append(f"{title_of(method)}: {number(middles[0])} to {number(middles[-1])} {found.unit}")
    if not lines:
        pyplot.close(figure)
        return None
    axes.set_xticks(range(len(ordered)), [str(value) for value in ordered])
    axes.set_xlabel(AXES.get(varied, varied))
    axes.set_ylabel(f"{found.title}, {found.unit}")
    axes.set_ylim(bottom=0)
    _legend_below(figure, axes)
    text = (f"Medians of {found.title} with their intervals. From {ordered[0]} to {ordered[-1]}"
            f" ({AXES.get(varied, varied)}): {'; '.join(ends)}.")
    return _finish(figure, f"{experiment}-{measure}", f"{results.title(experiment)}: {found.title}", text)


def _freeze(results, experiment):
    """Where the freeze goes: medians of its phases, stacked."""
    rows = [(title_of(method), phases) for method in results.methods(experiment)
            if (phases := _phases(results.of(experiment, method)))]
    return _stacked(rows, f"{experiment}-freeze", f"{results.title(experiment)}: the freeze, phase by phase",
                    "Medians of the phases of the freeze, stacked. Of a script the transfer is only what is left of it "
                    "after the dump.")


def _freeze_by_value(results, experiment, varied):
    """The same of godwit alone, one bar for each value."""
    ours = next((method for method in ("godwit-hybrid", "godwit-precopy") if method in results.methods(experiment)), None)
    values = dict.fromkeys(series.value_of(sample, varied) for sample in results.of(experiment, ours)) if ours else []
    rows = [(f"{value}", phases) for value in values
            if (phases := _phases(results.of(experiment, ours, **{varied: value})))]
    return _stacked(rows, f"{experiment}-freeze", f"{results.title(experiment)}: the freeze of {title_of(ours)}" if ours else "",
                    f"Medians of the phases of the freeze, stacked, by {AXES.get(varied, varied)}.")


def _phases(samples):
    """{phase: median ms} of those that tell them."""
    samples = [sample["freeze_phases"] for sample in samples if sample.get("freeze_phases")]
    return {name: bootstrap.median([sample.get(name, 0) for sample in samples])
            for name in PHASES if any(name in sample for sample in samples)}


def _stacked(rows, name, title, text):
    if not rows:
        return None
    figure, axes = _canvas(rows=len(rows))
    for place, (_, phases) in enumerate(reversed(rows)):
        left = 0
        for phase, took in phases.items():
            axes.barh(place, took, left=left, color=PHASES[phase], height=0.65)
            left += took
    _label_rows(axes, [label for label, _ in rows])
    axes.set_xlabel("ms")
    for phase, colour in PHASES.items():
        axes.barh(0, 0, color=colour, label=phase)
    _legend_below(figure, axes)
    longest = "; ".join(f"{label}: {max(phases, key=phases.get)} {number(max(phases.values()))} ms" for label, phases in rows)
    return _finish(figure, name, title, f"{text} The longest phase of each: {longest}.")


def _memory_over_time(results, experiment):
    """Of one migration by each method, that of the middle total time; the source above, the target below."""
    chosen = [(method, sample) for method in results.methods(experiment)
              if (sample := _middle(results.of(experiment, method), "memory_series"))]
    if not chosen:
        return None
    width, height = SIZE_INCHES
    figure, panels = pyplot.subplots(2, 1, sharex=True, sharey=True, figsize=(width, 1.5 * height))
    for axes, side in zip(panels, ("source", "target")):
        for method, sample in chosen:
            axes.plot(*zip(*sample["memory_series"][side]), color=COLOURS[method], linewidth=1.2, label=title_of(method))
        axes.set_ylabel(f"MiB, {side}")
        axes.set_ylim(bottom=0)
    panels[-1].set_xlabel("s from the command")
    _legend_below(figure, panels[-1], panels=2)
    return _finish(figure, f"{experiment}-memory-over-time", f"{results.title(experiment)}: memory over time",
                   "Anonymous memory, tmpfs and memfd of each host, the container's own included, in the migration of "
                   "each method whose total time is the median. What rises above the container is the method's own.")


def _pace(results, experiment):
    figure, axes = _canvas()
    shown, said = 0, []
    for method in results.methods(experiment):
        samples = results.of(experiment, method)
        if not (sample := _middle(samples, "pace")):
            continue
        axes.plot(*zip(*series.paces(sample)), color=COLOURS[method], linewidth=1.1, label=title_of(method))
        during, after, lost = (series.spread(samples, measure) for measure in ("pace_during", "pace_after", "work_lost"))
        if during and after and lost:
            said.append(f"{title_of(method)} {number(during[0])} % and {number(after[0])} %, {number(lost[0])} s lost")
        shown += 1
    if not shown:
        pyplot.close(figure)
        return None
    axes.set_xlabel("s from the command")
    axes.set_ylabel("pace, % of the median before")
    axes.set_ylim(bottom=0)
    _legend_below(figure, axes)
    return _finish(figure, f"{experiment}-pace", f"{results.title(experiment)}: pace before, during, after",
                   "The program's own pace in steps of 100 ms, in the migration of each method whose total time is the "
                   "median. Of all migrations, the median pace while they last and after the last page, and the work "
                   f"lost in both: {'; '.join(said)}.")


def _pages_by_round(results, experiment):
    figure, axes = _canvas()
    shown = 0
    for method in results.methods(experiment):
        samples = [sample for sample in results.of(experiment, method) if sample.get("rounds")]
        if not samples:
            continue
        most = max(samples, key=lambda sample: len(sample["rounds"]))["rounds"]
        axes.plot(range(1, len(most) + 1), [round_["pages"] for round_ in most], marker="o", markersize=4,
                  color=COLOURS[method], label=title_of(method))
        shown += 1
    if not shown:
        pyplot.close(figure)
        return None
    axes.set_xlabel("round")
    axes.set_ylabel("pages sent (logarithmic)")
    axes.set_yscale("log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    _legend_below(figure, axes)
    return _finish(figure, f"{experiment}-pages", f"{results.title(experiment)}: pages by round",
                   "Pages sent in each round, of each method's migration with the most rounds. Rounds help for as long "
                   "as the line falls.")


def _completion(results, experiment):
    rows = []
    for sample in results.of(experiment):
        rows.append((sample["method"], sample["conditions"]["migrations"]))
    rows = sorted(dict.fromkeys(rows), key=lambda row: (row[1], list(COLOURS).index(row[0])))
    figure, axes = _canvas(rows=len(rows))
    said = []
    for place, (method, migrations) in enumerate(reversed(rows)):
        samples = results.of(experiment, method, migrations=migrations)
        middle, low, high, _ = series.spread(samples, "completion")
        axes.barh(place, middle, color=COLOURS[method], height=0.65)
        axes.hlines(place, low, high, color="black", linewidth=1)
        axes.annotate(number(middle), (high, place), xytext=(3, 0), textcoords="offset points", va="center", fontsize=8)
        said.append(f"{_run_label(method, migrations, samples)} {number(middle)} s")
    axes.set_yticks(range(len(rows)), [_run_label(method, migrations, results.of(experiment, method, migrations=migrations))
                                       for method, migrations in reversed(rows)])
    axes.margins(x=0.15)
    axes.set_xlabel("completion time, s")
    return _finish(figure, f"{experiment}-completion", f"{results.title(experiment)}: completion time",
                   "How long the program took, moved so often while it ran; its result was that of the run that was not "
                   f"moved each time. {'; '.join(reversed(said))}.")


# --- What they have in common ---

def _canvas(rows=None):
    width, height = SIZE_INCHES
    return pyplot.subplots(figsize=(width, height if rows is None else max(1.6, 0.9 + 0.27 * rows)))


def _label_rows(axes, labels):
    axes.set_yticks(range(len(labels)), list(reversed(labels)))
    axes.set_ylim(-0.6, len(labels) - 0.4)
    axes.grid(axis="y", visible=False)


def _legend_below(figure, axes, panels=1):
    """Below the axis, and the figure as much taller; the layout makes room for it."""
    rows = (len(axes.get_legend_handles_labels()[1]) + 1) // 2
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + 0.19 * rows)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.45 * panels / height - 0.02), ncols=2, borderaxespad=0)


def _jitter(number_):
    return (number_ * 7 % 5 - 2) * 0.09


def _middle(samples, name):
    """The sample with the middle total time, of those that have NAME; None without any."""
    ordered = sorted((sample for sample in samples if sample.get(name)), key=lambda sample: sample.get("total_ms", 0))
    return ordered[len(ordered) // 2] if ordered else None


def _run_label(method, migrations, samples):
    if method == "unmoved":
        return "not moved"
    done = bootstrap.median([sample["migrations_done"] for sample in samples])
    label = f"{title_of(method)}, {migrations}×"
    return label if done == migrations else f"{label} (ended after {done:g})"


def _extremes(rows, measure):
    """"Least: … ; most: …"."""
    if len(rows) < 2:
        return ""
    ordered = sorted(rows, key=lambda row: bootstrap.median(row[1]))
    (least, low), (most, high) = ordered[0], ordered[-1]
    return (f"Least: {title_of(least)}, {number(bootstrap.median(low))} {measure.unit}; "
            f"most: {title_of(most)}, {number(bootstrap.median(high))} {measure.unit}.")


def _finish(figure, name, title, text):
    # Ids in an SVG come from this salt: pages with several of them need one for each.
    with matplotlib.rc_context({"svg.hashsalt": name}):
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    svg = file.getvalue()
    return Figure(name, title, text.strip(), svg[svg.index("<svg"):])

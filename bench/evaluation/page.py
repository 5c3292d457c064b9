"""The report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere."""

import html

from . import figures, tables

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; margin: 0 auto; padding: 0 1rem 3rem;
       max-width: 1240px; overflow-wrap: break-word; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.3rem; margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
figure { margin: 0; border: 1px solid #e4e4e4; border-radius: 6px; padding: .75rem; min-width: 0; }
figure svg { display: block; width: 100%; height: auto; max-width: 460px; margin: 0 auto; }
figcaption { font-size: .85rem; color: #444; } figcaption b { display: block; color: #1c1c1c; font-size: .95rem; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 360px), 1fr)); gap: 1rem; }
.table { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: .25rem .6rem; border-bottom: 1px solid #e8e8e8; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } th { background: #f6f6f6; } #failures td { text-align: left; }
dl { display: grid; grid-template-columns: auto 1fr; gap: .1rem 1rem; font-size: .9rem; } dd { margin: 0; min-width: 0; }
"""

METHOD = """<p>Each method moved the same container between the same two hosts, made of namespaces on one machine, in turn
and in turn backwards. The downtime is from the freeze to the resume; the client gap is the longest wait of any request
that a client saw, network included; the standstill is the longest time in which the program itself did nothing; the
total time is that of the whole command; bytes are those that left the source's link; memory is the peak of both hosts
above what there was; CPU time is that of the hosts without the container's own. Intervals are bootstrapped, 95 %;
of fewer than three samples, the least and the most.</p>"""


def write(results, path):
    path.write_text(render(results), encoding="utf-8")


def render(results, pictures=None):
    """PICTURES: figures.all_of(results), if the caller has them already."""
    by_name = {table.name: table for table in tables.all_of(results)}
    pictures = figures.all_of(results) if pictures is None else pictures
    parts = [f"<h1>{_text(_title(results))}</h1>", _session(results), METHOD]
    parts += [_table(by_name[name]) for name in ("ratios",) if name in by_name]
    for experiment in results.experiments():
        own = [figure for figure in pictures if figure.name.startswith(f"{experiment}-")
               and not any(figure.name.startswith(f"{other}-") for other in results.experiments()
                           if len(other) > len(experiment) and other.startswith(experiment))]
        if own:
            parts.append(f"<h2>{_text(results.title(experiment))}</h2><div class=figures>")
            parts += [_figure(figure) for figure in own]
            parts.append("</div>")
        if table := by_name.get(f"medians-{experiment}"):
            parts.append(_details(table))
    parts += [_table(by_name[name]) for name in ("failures",) if name in by_name]
    return (f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(_title(results))}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
            f"<style>{STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n")


def _title(results):
    return results.sessions[0]["suite"] if results.sessions else "Evaluation"


def _emulated(machine):
    return (f"{'two machines, each ' if machine.get('machines', 1) == 2 else ''}Linux {machine['kernel']}, "
            f"{machine['processors']} processors ({machine['processor']}), {machine['memory_mib']} MiB, {machine['date']}")


def _session(results):
    machine = results.machine
    versions = ", ".join(f"{name} {_version(said)}" for name, said in machine.get("versions", {}).items() if said)
    facts = {
        "date": machine.get("date"),
        "machine": f"{machine.get('processors')} processors ({machine.get('processor')}), {machine.get('memory_mib')} MiB",
        "system": f"{machine.get('distribution')}, Linux {machine.get('kernel')}",
        "kernel lacks": ", ".join(what for key, what in (
            ("soft_dirty", "soft-dirty tracking"), ("netem", "sch_netem (latency is made by a program)"))
            if not machine.get(key)) or "nothing that is needed here",
        "emulated": "; ".join(map(_emulated, results.emulated)) or "nothing",
        "versions": versions,
        "command": "; ".join(results.commands),
        "samples": f"{len(results.samples)}, in {len(results.sessions)} session{'s' * (len(results.sessions) != 1)}",
    }
    return "<dl>" + "".join(f"<dt>{name}</dt><dd>{_text(value)}</dd>" for name, value in facts.items()) + "</dl>"


def _version(said):
    return said.split()[-1]


def _figure(figure):
    svg = figure.svg.replace("<svg ", f'<svg role="img" aria-label="{_text(figure.title)}" ', 1)
    return (f'<figure id="{figure.name}">{svg}<figcaption><b>{_text(figure.title)}</b>{_text(figure.text)}</figcaption>'
            "</figure>")


def _table(table):
    return f"<h2>{_text(table.title)}</h2>{_rows(table)}"


def _details(table):
    return f"<details open><summary>Medians: {_text(table.title)}</summary>{_rows(table)}</details>"


def _rows(table):
    head = "".join(f"<th>{_text(cell)}</th>" for cell in table.header)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    return f'<div class=table><table id="{table.name}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _text(value):
    return html.escape(str(value), quote=True)

"""The report in short, as Markdown."""

from . import tables


def write(results, path):
    path.write_text(render(results), encoding="utf-8")


def render(results):
    machine = results.machine
    lines = [f"# {results.sessions[0]['suite'] if results.sessions else 'Evaluation'}", "",
             f"{machine.get('date')}; {machine.get('processors')} processors, {machine.get('memory_mib')} MiB, "
             f"{machine.get('distribution')}, Linux {machine.get('kernel')}; "
             f"commit {machine.get('versions', {}).get('commit')}; "
             f"{', '.join(f'`{command}`' for command in results.commands)}.", ""]
    for table in tables.all_of(results):
        lines += [f"## {table.title}", "", *_markdown(table), ""]
    return "\n".join(lines)


def _markdown(table):
    def row(cells):
        return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

    return [row(table.header), "|" + "---|" * len(table.header), *map(row, table.rows)]

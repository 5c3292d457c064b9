"""Figures for people: columns that line up, units that can be read."""


def render(rows, header=None):
    """ROWS: lists of texts; the first column to the left, the others to the right."""
    every = ([header] if header else []) + rows
    widths = [max(len(row[i]) for row in every if i < len(row)) for i in range(max(map(len, every)))]

    def line(row):
        cells = [cell.ljust(width) if i == 0 else cell.rjust(width)
                 for i, (cell, width) in enumerate(zip(row, widths))]
        return "  " + "   ".join(cells).rstrip()

    lines = [line(row) for row in rows]
    if header:
        lines = [line(header), "  " + "─" * (sum(widths) + 3 * (len(widths) - 1)), *lines]
    return "\n".join(lines)


def ms(value):
    return "–" if value is None else f"{value:,.1f} ms"


def size(value):
    if value is None:
        return "–"
    for unit, step in (("GiB", 30), ("MiB", 20), ("KiB", 10)):
        if value >= 1 << step:
            return f"{value / (1 << step):,.1f} {unit}"
    return f"{value} B"

"""Draws the curves of docs/experiments.md: a panel a figure, a line an arm, the spread over the seeds as a band.

    curves.py FOLDER ARM ...      reads FOLDER/ARM-SEED/rounds.json, writes FOLDER/curves.svg
"""
import pathlib
import sys
from xml.sax.saxutils import escape

from results import by_round, figures, load

SHOWN = ("heldout", "checker", "exact", "clip", "hps", "diversity", "Fréchet", "loss")
COLOURS = ("#b3261e", "#1f6feb", "#1a7f37", "#8250df", "#9a6700")
WIDTH, HEIGHT, LEFT, TOP, GAP, ACROSS = 230, 150, 64, 34, 68, 4


def panel(name, arms, x, y):
    """The panel's elements; `arms` are (colour, points) with points as by_round has them."""
    points = [point for _, series in arms for point in series]
    low = min(mean - (spread or 0) for _, mean, spread in points)
    high = max(mean + (spread or 0) for _, mean, spread in points)
    margin = 0.06 * (high - low) or abs(high) * 0.01 or 1
    low, high, last = low - margin, high + margin, max(max(number for number, *_ in points), 1)

    def at(number, value):
        return f"{x + WIDTH * number / last:.1f},{y + HEIGHT * (1 - (value - low) / (high - low)):.1f}"

    parts = [f'<text x="{x}" y="{y - 10}" class="title">{escape(name)}</text>',
             f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" class="frame"/>']
    for share in (0, 0.5, 1):
        value = low + (high - low) * share
        parts.append(f'<text x="{x - 6}" y="{y + HEIGHT * (1 - share) + 4:.1f}" class="y">{value:.3g}</text>')
    parts += [f'<text x="{x + WIDTH * number / last:.1f}" y="{y + HEIGHT + 15}" class="x">{number}</text>' for number in range(last + 1)]
    for colour, series in arms:
        if any(spread for *_, spread in series):
            edge = [at(n, m + (s or 0)) for n, m, s in series] + [at(n, m - (s or 0)) for n, m, s in reversed(series)]
            parts.append(f'<polygon points="{" ".join(edge)}" fill="{colour}" opacity="0.15"/>')
        parts.append(f'<polyline points="{" ".join(at(n, m) for n, m, _ in series)}" fill="none" stroke="{colour}" stroke-width="2"/>')
    return parts


def main():
    folder, names = pathlib.Path(sys.argv[1]), sys.argv[2:]
    runs = {name: load(folder, name) for name in names}
    known = figures(runs[names[0]])
    shown = [name for name in SHOWN if name in known]
    rows = -(-len(shown) // ACROSS)
    width, height = ACROSS * (WIDTH + GAP) + LEFT, TOP + rows * (HEIGHT + GAP) + 10
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
             "<style>text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.x{text-anchor:middle}.y{text-anchor:end}"
             ".frame{fill:none;stroke:#bbb}</style>", f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for place, name in enumerate(shown):
        series = [(colour, found) for colour, arm in zip(COLOURS, names) if (found := by_round(runs[arm], known[name]))]
        parts += panel(name, series, LEFT + place % ACROSS * (WIDTH + GAP), TOP + place // ACROSS * (HEIGHT + GAP))
    for place, (colour, name) in enumerate(zip(COLOURS, names)):
        x = LEFT + place * 150
        parts += [f'<rect x="{x}" y="{height - 20}" width="18" height="4" fill="{colour}"/>',
                  f'<text x="{x + 24}" y="{height - 14}">{escape(name)}</text>']
    (folder / "curves.svg").write_text("\n".join(parts) + "\n</svg>\n")
    print(f"{folder}/curves.svg")


main()

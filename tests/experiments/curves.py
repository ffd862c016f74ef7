"""Curves of arms as SVG: a panel a figure, a line an arm, the spread over the seeds as a band."""
from xml.sax.saxutils import escape

from results import FIGURES, by_round

SHOWN = ("heldout", "checker", "exact", "clip", "hps", "aesthetic", "diversity", "frechet")
COLOURS = ("#b3261e", "#1f6feb", "#1a7f37", "#8250df", "#9a6700")
WIDTH, HEIGHT, LEFT, TOP, GAP, ACROSS = 230, 150, 64, 34, 68, 4


def panel(name, arms, x, y):
    """The panel's elements; `arms` are (colour, points) with points as by_round has them."""
    points = [point for _, series in arms for point in series]
    low = min(mean - (spread or 0) for _, mean, spread in points)
    high = max(mean + (spread or 0) for _, mean, spread in points)
    margin = 0.06 * (high - low) or abs(high) * 0.01 or 1
    low = max(low - margin, 0) if low >= 0 else low - margin  # what cannot be negative is not drawn so
    high, last = high + margin, max(max(number for number, *_ in points), 1)

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


def draw(arms):
    """The SVG's text; `arms` are {name: results}."""
    rows = -(-len(SHOWN) // ACROSS)
    width, height = ACROSS * (WIDTH + GAP) + LEFT, TOP + rows * (HEIGHT + GAP) + 10
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">',
             "<style>text{font:12px sans-serif;fill:#333}.title{font-weight:bold}.x{text-anchor:middle}.y{text-anchor:end}"
             ".frame{fill:none;stroke:#bbb}</style>", f'<rect width="{width}" height="{height}" fill="#fff"/>']
    for place, figure in enumerate(SHOWN):
        series = [(colour, found) for colour, results in zip(COLOURS, arms.values()) if (found := by_round(results, figure))]
        parts += panel(FIGURES[figure][0], series, LEFT + place % ACROSS * (WIDTH + GAP), TOP + place // ACROSS * (HEIGHT + GAP))
    for place, (colour, name) in enumerate(zip(COLOURS, arms)):
        x = LEFT + place * 150
        parts += [f'<rect x="{x}" y="{height - 20}" width="18" height="4" fill="{colour}"/>',
                  f'<text x="{x + 24}" y="{height - 14}">{escape(name)}</text>']
    return "\n".join(parts) + "\n</svg>\n"

"""Pages of HTML about columns, self-contained: light or dark, on a screen or a phone, without a script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from aforo.data.profiles import Histogram, as_text
from aforo.data.statistics import Extreme

_STYLE = """\
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --page: #fff; --card: #f6f8fa; --line: #d0d7de;
  --bar: #0969da; --bad: #b35900; --was: #8c959f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9ba4ae; --page: #0d1117; --card: #161b22;
  --line: #30363d; --bar: #58a6ff; --bad: #f0a04b; --was: #6e7681; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 75rem; padding: 1rem; font: 1rem/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--page); }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .3rem 0; } .soft, dt { color: var(--soft); font-size: .85rem; } .id { overflow-wrap: anywhere; }
.bad { color: var(--bad); }
.columns { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: .8rem; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem; min-width: 0; }
dl { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; margin: .4rem 0; } dd { margin: 0; }
svg { display: block; width: 100%; height: 5rem; } rect { fill: var(--bar); }
path { fill: none; stroke: var(--was); stroke-width: 2; vector-effect: non-scaling-stroke; }
.ends { display: flex; justify-content: space-between; gap: 1rem; }
table { width: 100%; border-collapse: collapse; font-size: .85rem; table-layout: fixed; }
td { padding: .1rem 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
td:first-child { width: 40%; } td:last-child { width: 5.5rem; text-align: right; }
.bar { height: .7rem; background: var(--bar); border-radius: .15rem; min-width: 1px; }
.bar.was { height: .3rem; background: var(--was); }
"""

_VALUES_SHOWN = 8


def page(title: str, header: str, cards: Sequence[str]) -> str:
    """Return a page: a header, and a card for each column."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n{_STYLE}</style>\n</head>\n<body>\n<header>\n{header}\n</header>\n"
        f'<main class="columns">\n{"".join(cards)}</main>\n</body>\n</html>\n'
    )


def facts(named: dict[str, str]) -> str:
    """Return names with values, side by side."""
    return f"<dl>{''.join(f'<div><dt>{escape(n)}</dt><dd>{escape(v)}</dd></div>' for n, v in named.items())}</dl>\n"


def histogram(name: str, counts: Histogram, kind: str, ends: tuple[str, str], was: Histogram | None = None) -> str:
    """Return a bar a bin, and the outline of an earlier histogram with the same bins, as shares of the rows.

    Parameters
    ----------
    kind
        Of the column, as in its profile.
    ends
        What stands below the first and the last bar.
    """
    shares, earlier = (_shares(side) if side is not None else [] for side in (counts, was))
    highest, width = max([*shares, *earlier]), 100 / len(shares)
    bars = []
    for place, share in enumerate(shares):
        # Rows that are few stay visible.
        height = max(1.0, 100 * share / highest) if share else 0
        low, high = (as_text(edge, kind) for edge in counts.edges[place : place + 2])
        bars.append(
            f'<rect x="{place * width:.3f}" y="{100 - height:.2f}" width="{width * 0.94:.3f}" height="{height:.2f}">'
            f"<title>{low} to {high}: {counts.counts[place]:,}</title></rect>"
        )
    steps = [f"V{100 - 100 * share / highest:.2f}H{(place + 1) * width:.3f}" for place, share in enumerate(earlier)]
    outline = f'<path d="M0 100{"".join(steps)}V100"/>' if steps else ""
    return (
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="histogram of {escape(name)}">'
        f"{''.join(bars)}{outline}</svg>\n"
        f'<div class="ends soft"><span>{escape(ends[0])}</span><span>{escape(ends[1])}</span></div>'
    )


def frequencies(values: dict[str, int], present: int, was: dict[str, int] | None = None, then: int = 0) -> str:
    """Return a bar a value, the most frequent first, and a thin one for an earlier table's share of it.

    Parameters
    ----------
    present, then
        Rows that have a value, now and in the earlier table.
    """
    known = was or {}
    shown = list(values.items())[:_VALUES_SHOWN]
    rest = sum(values.values()) - sum(rows for _, rows in shown)
    if rest:
        shown.append((f"{len(values) - len(shown):,} others", rest))
    before = {value: known.get(value, 0) / then for value, _ in shown} if then else {}
    highest = max([*(rows / present for _, rows in shown), *before.values()])
    lines = []
    for value, rows in shown:
        thin = f'<div class="bar was" style="width:{100 * before[value] / highest:.1f}%"></div>' if then else ""
        lines.append(
            f'<tr><td title="{escape(value)}">{escape(value)}</td>'
            f'<td><div class="bar" style="width:{100 * rows / present / highest:.1f}%"></div>{thin}</td>'
            f"<td>{rows / present:.1%}</td></tr>"
        )
    return f"<table>{''.join(lines)}</table>"


def extreme(value: Extreme) -> str:
    """Return the lowest or highest value of a column for a person."""
    if isinstance(value, str):
        return value.replace("T", " ").removesuffix("+00:00")
    return number(value) if isinstance(value, float) else str(value)


def number(value: float) -> str:
    """Return a number in four digits."""
    return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:.4g}"


def _shares(counts: Histogram) -> list[float]:
    rows = sum(counts.counts)
    return [count / rows for count in counts.counts]

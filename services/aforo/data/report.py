"""A snapshot on one page: self-contained HTML with a picture of each column, light or dark, on a screen or a phone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from aforo.contracts.run import RowAccount
from aforo.contracts.table import ColumnContract, TableContract
from aforo.data.profiles import MOST_VALUES, ColumnProfile, Histogram, as_text
from aforo.data.snapshots import SnapshotManifest
from aforo.data.statistics import ColumnStatistics, Extreme

_STYLE = """\
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --page: #fff; --card: #f6f8fa; --line: #d0d7de;
  --bar: #0969da; --bad: #b35900; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9ba4ae; --page: #0d1117; --card: #161b22;
  --line: #30363d; --bar: #58a6ff; --bad: #f0a04b; } }
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
.ends { display: flex; justify-content: space-between; gap: 1rem; }
table { width: 100%; border-collapse: collapse; font-size: .85rem; table-layout: fixed; }
td { padding: .1rem 0; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
td:first-child { width: 40%; } td:last-child { width: 5.5rem; text-align: right; }
.bar { height: .7rem; background: var(--bar); border-radius: .15rem; min-width: 1px; }
"""

_VALUES_SHOWN = 8


def snapshot_report(
    title: str,
    snapshot: SnapshotManifest,
    profiles: Sequence[ColumnProfile],
    *,
    contract: TableContract | None = None,
    account: RowAccount | None = None,
    warnings: Sequence[str] = (),
) -> str:
    """Return the page as HTML. It loads nothing from anywhere, and runs no script.

    Parameters
    ----------
    profiles
        Of the snapshot's columns, in its order; of private columns without values.
    contract
        Adds roles, units and descriptions.
    account
        What became of the rows when the snapshot was taken.
    """
    cards = [
        _card(profile, statistics, _declared(contract, profile.name))
        for profile, statistics in zip(profiles, snapshot.columns, strict=True)
    ]
    warned = "".join(f'<p class="bad">{escape(warning)}</p>' for warning in warnings)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}: snapshot</title>\n"
        f"<style>\n{_STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{escape(title)}</h1>\n"
        f'<p class="soft id">Snapshot {snapshot.snapshot_id}, from {escape(snapshot.source)}</p>\n'
        f"{_facts(_rows(snapshot, account))}{warned or '<p>Nothing is out of the ordinary.</p>'}\n</header>\n"
        f'<main class="columns">\n{"".join(cards)}</main>\n</body>\n</html>\n'
    )


def _rows(snapshot: SnapshotManifest, account: RowAccount | None) -> dict[str, str]:
    facts = {"rows": f"{snapshot.rows:,}", "columns": f"{len(snapshot.columns)}"}
    if account is not None:
        facts |= {"read": f"{account.read:,}", "quarantined": f"{account.quarantined:,}"}
        facts |= {"repeated": f"{account.duplicates:,}"}
        facts |= {reason: f"{rows:,}" for reason, rows in account.set_aside.items()}
    return facts


def _declared(contract: TableContract | None, name: str) -> ColumnContract | None:
    return contract[name] if contract is not None and name in contract.names else None


def _card(profile: ColumnProfile, statistics: ColumnStatistics, declared: ColumnContract | None) -> str:
    kind = profile.type if declared is None else ", ".join([declared.type, *(role.value for role in declared.role)])
    unit = f" ({escape(declared.unit)})" if declared is not None and declared.unit else ""
    said = (
        f'<p class="soft">{escape(declared.description)}</p>' if declared is not None and declared.description else ""
    )
    facts = {"missing": f"{profile.missing:.1%}" if profile.nulls else "none"}
    if statistics.mean is not None:
        facts["mean"] = _number(statistics.mean)
    if profile.frequencies is not None:
        facts["values"] = f"{len(profile.frequencies):,}"
    elif profile.histogram is None and profile.present and not (declared is not None and declared.private):
        facts["values"] = f"over {MOST_VALUES:,}"
    picture = ""
    if profile.histogram is not None:
        picture = _histogram(profile.name, profile.histogram, statistics)
    elif profile.frequencies:
        picture = _frequencies(profile.frequencies, profile.present)
    elif declared is not None and declared.private:
        picture = '<p class="soft">private: its values are not shown</p>'
    return (
        f'<article>\n<h2>{escape(profile.name)}{unit}</h2>\n<p class="soft">{escape(kind)}</p>\n{said}'
        f"{_facts(facts)}{picture}\n</article>\n"
    )


def _histogram(name: str, histogram: Histogram, statistics: ColumnStatistics) -> str:
    highest, width = max(histogram.counts), 100 / len(histogram.counts)
    bars = []
    for place, count in enumerate(histogram.counts):
        # Rows that are few stay visible.
        height = max(1.0, 100 * count / highest) if count else 0
        low, high = (as_text(edge, statistics.type) for edge in histogram.edges[place : place + 2])
        bars.append(
            f'<rect x="{place * width:.3f}" y="{100 - height:.2f}" width="{width * 0.94:.3f}" height="{height:.2f}">'
            f"<title>{low} to {high}: {count:,}</title></rect>"
        )
    return (
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="histogram of {escape(name)}">'
        f'{"".join(bars)}</svg>\n<div class="ends soft"><span>{_extreme(statistics.minimum)}</span>'
        f"<span>{_extreme(statistics.maximum)}</span></div>"
    )


def _frequencies(frequencies: dict[str, int], present: int) -> str:
    shown = list(frequencies.items())[:_VALUES_SHOWN]
    rest = sum(frequencies.values()) - sum(rows for _, rows in shown)
    if rest:
        shown.append((f"{len(frequencies) - len(shown):,} others", rest))
    highest = max(rows for _, rows in shown)
    lines = [
        f'<tr><td title="{escape(value)}">{escape(value)}</td>'
        f'<td><div class="bar" style="width:{100 * rows / highest:.1f}%"></div></td><td>{rows / present:.1%}</td></tr>'
        for value, rows in shown
    ]
    return f"<table>{''.join(lines)}</table>"


def _facts(facts: dict[str, str]) -> str:
    return f"<dl>{''.join(f'<div><dt>{escape(n)}</dt><dd>{escape(v)}</dd></div>' for n, v in facts.items())}</dl>\n"


def _extreme(value: Extreme) -> str:
    if isinstance(value, str):
        return escape(value.replace("T", " ").removesuffix("+00:00"))
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float) -> str:
    return f"{value:,.4g}" if abs(value) < 1e6 else f"{value:.4g}"

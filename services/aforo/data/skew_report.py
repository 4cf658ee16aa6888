"""Training-serving skew on one page of HTML: a card for each column, the skewed ones first."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from aforo.data.pictures import facts, frequencies, histogram
from aforo.data.pictures import page as page_of
from aforo.data.profiles import ColumnProfile, Histogram
from aforo.data.skew import ColumnSkew, Skew

_BARS = 40


def skew_report(title: str, said: str, found: Skew, profiles: Sequence[tuple[ColumnProfile, ColumnProfile]]) -> str:
    """Return the page as HTML. It loads nothing from anywhere, and runs no script.

    Parameters
    ----------
    said
        What was compared with what, as a sentence.
    profiles
        Of training and of what was asked, as `aforo.data.skew.skew` gives them.
    """
    sides = {before.name: (before, after) for before, after in profiles}
    rows = {"rows of training": f"{found.trained_rows:,}", "rows asked about": f"{found.asked_rows:,}"}
    rows |= {"columns": f"{len(found.columns)}", "skewed": f"{len(found.skewed)}"}
    legend = (
        '<p class="soft">Bars are what was asked, the outermost beyond what training has; '
        "the line, and the thin bars, are training.</p>"
    )
    header = f'<h1>{escape(title)}</h1>\n<p class="soft id">{escape(said)}</p>\n{facts(rows)}{legend}'
    return page_of(title, header, [_card(column, *sides[column.column]) for column in found.columns])


def _card(column: ColumnSkew, before: ColumnProfile, after: ColumnProfile) -> str:
    was, now = column.difference.missing
    known = {"missing": f"{now:.1%}, was {was:.1%}"}
    if column.difference.distance is not None:
        known["distance (allowed)"] = f"{column.difference.distance:.3f} ({column.bounds.max_distance:g})"
    if column.unseen is not None:
        known["not in training (allowed)"] = f"{column.unseen:.1%} ({column.bounds.max_unseen:.1%})"
    faults = "".join(f'<p class="bad">{escape(fault)}</p>' for fault in column.faults)
    said = f"{faults}{facts(known)}{_picture(column, before, after)}"
    return f"<article>\n<h2>{escape(column.column)}</h2>\n{said}\n</article>\n"


def _picture(column: ColumnSkew, before: ColumnProfile, after: ColumnProfile) -> str:
    if before.histogram is not None and after.histogram is not None and column.trained is not None:
        then, now = _coarser(before.histogram), _coarser(after.histogram)
        low, high = column.trained
        ends = f"below {low:.4g}", f"above {high:.4g}"
        return histogram(before.name, now, before.type, ends, then)
    if before.frequencies and after.frequencies:
        return frequencies(after.frequencies, after.present, before.frequencies, before.present)
    return '<p class="soft">private, missing throughout, or of too many values to show</p>'


def _coarser(fine: Histogram) -> Histogram:
    """Return a histogram for a person, whose outer bars are what is beyond training, as they are in the fine one."""
    inner = fine.counts[1:-1]
    size = -(-len(inner) // _BARS)
    starts = range(0, len(inner), size)
    counts = (fine.counts[0], *(sum(inner[start : start + size]) for start in starts), fine.counts[-1])
    edges = (fine.edges[0], *(fine.edges[1 + start] for start in starts), fine.edges[-2], fine.edges[-1])
    return Histogram(edges=edges, counts=counts)

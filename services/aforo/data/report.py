"""A snapshot on one page: self-contained HTML with a picture of each column, light or dark, on a screen or a phone."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from aforo.contracts.run import RowAccount
from aforo.contracts.table import ColumnContract, TableContract
from aforo.data.pictures import extreme, facts, frequencies, histogram, number, page
from aforo.data.profiles import MOST_VALUES, ColumnProfile
from aforo.data.snapshots import SnapshotManifest
from aforo.data.statistics import ColumnStatistics


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
    header = (
        f"<h1>{escape(title)}</h1>\n"
        f'<p class="soft id">Snapshot {snapshot.snapshot_id}, from {escape(snapshot.source)}</p>\n'
        f"{facts(_rows(snapshot, account))}{warned or '<p>Nothing is out of the ordinary.</p>'}"
    )
    return page(f"{title}: snapshot", header, cards)


def _rows(snapshot: SnapshotManifest, account: RowAccount | None) -> dict[str, str]:
    known = {"rows": f"{snapshot.rows:,}", "columns": f"{len(snapshot.columns)}"}
    if account is not None:
        known |= {"read": f"{account.read:,}", "quarantined": f"{account.quarantined:,}"}
        known |= {"repeated": f"{account.duplicates:,}"}
        known |= {reason: f"{rows:,}" for reason, rows in account.set_aside.items()}
    return known


def _declared(contract: TableContract | None, name: str) -> ColumnContract | None:
    return contract[name] if contract is not None and name in contract.names else None


def _card(profile: ColumnProfile, statistics: ColumnStatistics, declared: ColumnContract | None) -> str:
    kind = profile.type if declared is None else ", ".join([declared.type, *(role.value for role in declared.role)])
    unit = f" ({escape(declared.unit)})" if declared is not None and declared.unit else ""
    said = (
        f'<p class="soft">{escape(declared.description)}</p>' if declared is not None and declared.description else ""
    )
    known = {"missing": f"{profile.missing:.1%}" if profile.nulls else "none"}
    if statistics.mean is not None:
        known["mean"] = number(statistics.mean)
    if profile.frequencies is not None:
        known["values"] = f"{len(profile.frequencies):,}"
    elif profile.histogram is None and profile.present and not (declared is not None and declared.private):
        known["values"] = f"over {MOST_VALUES:,}"
    picture = ""
    if profile.histogram is not None:
        ends = extreme(statistics.minimum), extreme(statistics.maximum)
        picture = histogram(profile.name, profile.histogram, statistics.type, ends)
    elif profile.frequencies:
        picture = frequencies(profile.frequencies, profile.present)
    elif declared is not None and declared.private:
        picture = '<p class="soft">private: its values are not shown</p>'
    return (
        f'<article>\n<h2>{escape(profile.name)}{unit}</h2>\n<p class="soft">{escape(kind)}</p>\n{said}'
        f"{facts(known)}{picture}\n</article>\n"
    )

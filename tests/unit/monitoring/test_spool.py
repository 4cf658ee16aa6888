"""The spool: what is appended survives, what does not fit is counted, and no segment is read while it is written."""

from __future__ import annotations

import resource
from contextlib import contextmanager

import pytest

from aforo.errors import SettingsError
from aforo.monitoring.spool import Spool, SpoolGauge, SpoolOptions, claimed, segments_in

HEADER = b'{"format":1}'
LINE = b'{"request_id":"a"}\n'


@contextmanager
def files_no_larger_than(size):
    """Make writes beyond ``size`` fail, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def make_spool(tmp_path):
    """Give a spool in ``tmp_path / "spool"``, and the reasons of what it dropped."""

    def make(*, writers=1, **options):
        options = SpoolOptions(folder=tmp_path / "spool", **options)
        options.prepare()
        gauge = SpoolGauge(options.folder, budget_bytes=options.budget_bytes, writers=writers)
        dropped = []
        return Spool(options, gauge, lambda reason, records: dropped.extend([reason] * records)), gauge, dropped

    return make


def test_a_segment_has_its_header_once_and_then_the_lines_in_order(make_spool, tmp_path):
    spool, _, _ = make_spool()
    for line in (b"1\n", b"2\n"):
        assert spool.append("flight_delay@1", HEADER, line)

    (path,) = segments_in(tmp_path / "spool")
    assert path.read_bytes() == HEADER + b"\n1\n2\n"
    assert path.name.startswith("flight_delay@1@")


def test_lines_that_are_added_together_are_kept_or_counted_together(make_spool, tmp_path):
    spool, _, dropped = make_spool(budget_bytes=2 * len(HEADER) + 1 + 3 * len(LINE))
    kept = [spool.append("flight_delay@1", HEADER, LINE * 3, records=3) for _ in range(2)]

    assert kept == [True, False]
    assert dropped == ["budget"] * 3
    (path,) = segments_in(tmp_path / "spool")
    assert path.read_bytes() == HEADER + b"\n" + LINE * 3


def test_a_segment_that_is_being_written_cannot_be_claimed_until_it_is_closed(make_spool, tmp_path):
    spool, _, _ = make_spool()
    spool.append("flight_delay@1", HEADER, LINE)
    (path,) = segments_in(tmp_path / "spool")

    with claimed(path) as file:
        assert file is None
    spool.close()
    with claimed(path) as file, claimed(path) as second:
        assert file.read() == HEADER + b"\n" + LINE
        assert second is None


def test_a_segment_that_is_gone_cannot_be_claimed(tmp_path):
    with claimed(tmp_path / "flight_delay@1@x.segment") as file:
        assert file is None


def test_each_version_has_segments_of_its_own(make_spool, tmp_path):
    spool, _, _ = make_spool()
    for series in ("flight_delay@1", "flight_delay@2", "flight_delay@1"):
        spool.append(series, HEADER, LINE)

    assert sorted(path.read_bytes().count(LINE) for path in segments_in(tmp_path / "spool")) == [1, 2]


def test_a_segment_is_completed_at_its_size(make_spool, tmp_path):
    spool, _, _ = make_spool(rotate_bytes=len(HEADER) + 1 + 2 * len(LINE))
    for _ in range(5):
        spool.append("flight_delay@1", HEADER, LINE)

    assert [path.read_bytes().count(LINE) for path in segments_in(tmp_path / "spool")] == [2, 2, 1]


def test_a_segment_is_completed_at_its_age(make_spool, tmp_path):
    spool, _, _ = make_spool(rotate_s=0)
    spool.append("flight_delay@1", HEADER, LINE)
    spool.tend()
    (path,) = segments_in(tmp_path / "spool")

    with claimed(path) as file:
        assert file is not None


def test_beyond_the_budget_records_are_counted_and_not_kept_and_the_oldest_stay(make_spool, tmp_path):
    budget = len(HEADER) + 1 + 3 * len(LINE) + len(HEADER)
    spool, _, dropped = make_spool(budget_bytes=budget)
    kept = [spool.append("flight_delay@1", HEADER, LINE) for _ in range(5)]

    assert kept == [True, True, True, False, False]
    assert dropped == ["budget", "budget"]
    assert sum(path.stat().st_size for path in (tmp_path / "spool").iterdir()) <= budget


def test_writers_together_stay_within_the_budget(make_spool, tmp_path):
    budget = 2_000
    first, gauge, _ = make_spool(budget_bytes=budget, writers=2)
    second = Spool(SpoolOptions(folder=tmp_path / "spool", budget_bytes=budget), gauge, lambda *_: None)
    for spool in (first, second):
        while spool.append("flight_delay@1", HEADER, LINE):
            pass

    used = sum(path.stat().st_size for path in (tmp_path / "spool").iterdir())
    assert 0.9 * budget < used <= budget


def test_records_are_kept_again_when_there_is_room(make_spool, tmp_path):
    spool, gauge, dropped = make_spool(budget_bytes=200)
    while spool.append("flight_delay@1", HEADER, LINE):
        pass
    spool.close()
    for path in segments_in(tmp_path / "spool"):
        path.unlink()
    gauge.measure()

    assert spool.append("flight_delay@1", HEADER, LINE)
    assert dropped == ["budget"]


def test_a_disk_that_refuses_drops_records_and_leaves_a_segment_that_can_be_read(make_spool, tmp_path):
    spool, _, dropped = make_spool()
    with files_no_larger_than(len(HEADER) + 1 + len(LINE) + 5):
        kept = [spool.append("flight_delay@1", HEADER, LINE) for _ in range(3)]

    assert kept == [True, False, False]
    assert dropped == ["disk", "disk"]
    (path,) = segments_in(tmp_path / "spool")
    assert path.read_bytes() == HEADER + b"\n" + LINE + LINE[:5]  # half a line at the end is not read


def test_a_disk_that_refuses_is_tried_again_a_second_later(make_spool, tmp_path, monkeypatch):
    seconds = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: seconds[0])
    spool, _, dropped = make_spool()
    with files_no_larger_than(3):
        spool.append("flight_delay@1", HEADER, LINE)
    before = spool.append("flight_delay@1", HEADER, LINE)
    seconds[0] += 1.0
    after = spool.append("flight_delay@1", HEADER, LINE)

    assert (before, after) == (False, True)
    assert dropped == ["disk", "disk"]
    assert [path.read_bytes() for path in (tmp_path / "spool").iterdir()] == [HEADER + b"\n" + LINE]


def test_a_folder_that_cannot_be_made_is_refused_with_its_name(tmp_path):
    (tmp_path / "file").write_text("")
    options = SpoolOptions(folder=tmp_path / "file" / "spool")

    with pytest.raises(SettingsError, match=r"spool .*/file/spool: Not a directory"):
        options.prepare()


def test_an_environment_without_a_data_engine_is_told_to_ship_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr("aforo.monitoring.spool.find_spec", {}.get)
    SpoolOptions(folder=tmp_path / "spool", ships=False).prepare()

    with pytest.raises(SettingsError, match="polars is not installed") as refused:
        SpoolOptions(folder=tmp_path / "spool").prepare()
    assert "AFORO_SERVE_LOG_SHIP=off" in str(refused.value)


def test_a_full_disk_is_refused_at_the_start(tmp_path):
    with files_no_larger_than(100), pytest.raises(SettingsError, match="File too large"):
        SpoolOptions(folder=tmp_path / "spool").prepare()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"AFORO_SERVE_LOG": "yes"}, "AFORO_SERVE_LOG is 'yes'; expected on or off"),
        ({"AFORO_SERVE_LOG_SHIP": "1"}, "AFORO_SERVE_LOG_SHIP is '1'"),
        ({"AFORO_SERVE_LOG_BUDGET_MB": "0"}, "AFORO_SERVE_LOG_BUDGET_MB is '0'"),
        ({"AFORO_SERVE_LOG_ROTATE_S": "1.5"}, "AFORO_SERVE_LOG_ROTATE_S is '1.5'"),
        ({"AFORO_SERVE_LOG_KEEP_DAYS": "-1"}, "AFORO_SERVE_LOG_KEEP_DAYS is '-1'"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named(tmp_path, variables, message):
    with pytest.raises(SettingsError, match=message):
        SpoolOptions.from_environment(variables, tmp_path)


def test_without_any_variable_the_spool_is_in_the_home_folder(tmp_path):
    options = SpoolOptions.from_environment({}, tmp_path)

    assert options == SpoolOptions(folder=tmp_path / "spool", budget_bytes=1024 * 2**20)
    assert SpoolOptions.from_environment({"AFORO_SERVE_LOG": "off"}, tmp_path) is None

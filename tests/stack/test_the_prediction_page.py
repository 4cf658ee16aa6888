"""The prediction API's own page in a browser: what a person sees of the champion, and of an answer and its reasons.

It needs Chromium and no Docker: the embedded default is trained and served here.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from browser import Browser
from stack_platform import wait_for

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

AFORO = Path(sys.executable).with_name("aforo")
USE_CASES = Path(__file__).resolve().parents[2] / "services" / "use_cases"
SECTION = "#model-breast_cancer"
TRAM = """
name: tram
title: Will a tram be three minutes late or more?
owner: transit
task: {kind: binary, classes: [on_time, late]}
data:
  source: {kind: csv, path: data.csv}
  windows:
    - stream: arrivals
      known_at: arrived_at
      asked_at: asked_at
      by: [stop]
      pane_minutes: 10
      keep_days: 1
      columns: {mean_delay_1h: {kind: mean, of: delay, minutes: 60, decimals: 1}}
  columns:
    - {name: number, type: integer, role: key}
    - {name: stop, type: string, role: feature, categories: [north, south], example: north}
    - {name: asked_at, type: timestamp, role: info}
    - {name: arrived_at, type: timestamp, role: leak}
    - {name: delay, type: number, role: leak, known_at: arrived_at, unit: min}
    - {name: mean_delay_1h, type: number, role: feature, nullable: true, unit: min}
    - {name: late, type: boolean, role: target, expression: delay >= 3}
split: {kind: fingerprint, key: [number], shares: {train: 40, validation: 10, calibration: 25, test: 25}}
features:
  - {kind: one_hot, columns: [stop]}
  - {kind: scale, columns: [mean_delay_1h], missing: {fill: median, indicator: true}}
candidates: [{kind: historical_rate, by: [stop]}, {kind: linear}]
"""


@contextmanager
def champion(
    name: str, use_cases: Path, home: Path, serving: Callable[..., AbstractContextManager[httpx.Client]]
) -> Iterator[httpx.Client]:
    """Train a champion, and run the service in front of it."""
    environment = {**os.environ, "AFORO_HOME": str(home), "AFORO_USE_CASES": str(use_cases)}
    command = [AFORO, "run", name, "--run-key", "one"]
    trained = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert trained.returncode == 0, trained.stderr
    with serving(environment, home.with_suffix(".log")) as client:
        yield client


@pytest.fixture(scope="module")
def address(
    tmp_path_factory: pytest.TempPathFactory, serving: Callable[..., AbstractContextManager[httpx.Client]]
) -> Iterator[str]:
    """The service in front of a champion of breast_cancer, trained for this module."""
    with champion("breast_cancer", USE_CASES, tmp_path_factory.mktemp("home"), serving) as client:
        yield str(client.base_url)


@pytest.fixture
def trams(tmp_path: Path, serving: Callable[..., AbstractContextManager[httpx.Client]]) -> Iterator[httpx.Client]:
    """The service in front of a champion that goes by how late the trams of the last hour were."""
    folder = tmp_path / "use_cases" / "tram"
    folder.mkdir(parents=True)
    (folder / "use_case.yaml").write_text(TRAM, encoding="utf-8")
    rng, mood, lines = random.Random(7), {"north": 2.0, "south": 2.0}, ["number,stop,asked_at,arrived_at,delay"]
    first = datetime(2026, 1, 5, 6, tzinfo=UTC)
    for number in range(2000):
        stop = ("north", "south")[number % 2]
        mood[stop] += rng.gauss(0.02 * (3 - mood[stop]), 0.4)
        delay = round(rng.gauss(mood[stop], 0.7), 1)
        due = first + timedelta(minutes=3 * number)
        asked, arrived = due - timedelta(minutes=10), due + timedelta(minutes=delay)
        lines.append(f"{number},{stop},{asked.isoformat()},{arrived.isoformat()},{delay}")
    (folder / "data.csv").write_text("\n".join(lines), encoding="utf-8")
    with champion("tram", folder.parent, tmp_path / "home", serving) as client:
        yield client


def try_a_row(browser: Browser, address: str, section: str = SECTION, **values: str) -> str:
    """Open the page, fill in the form over its examples, send it, and return the page's text."""
    browser.open(f"{address}/")
    browser.click(f"{section} > details > summary")
    for name, value in values.items():
        browser.run(f"document.querySelector('{section} [name={name}]').value = '{value}'")
    browser.click(f"{section} form.row button")
    browser.wait_for("Why", "version 1, request")
    return browser.text


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390], ids=["desktop", "phone"])
def test_the_page_shows_the_champion_and_why_a_row_is_answered_as_it_is(
    address: str, browser: Browser, pictures: Path, width: int, dark: bool
) -> None:
    browser.look(width=width, height=2200 if width > 600 else 5000, dark=dark)
    text = try_a_row(browser, address)
    browser.picture(pictures / f"page_{width}_{'dark' if dark else 'light'}.png")

    assert "Verdict of the gate: promote" in text
    assert "diagnosis: benign" in text
    assert "On average of training rows the probability of malignant is" in text
    # The eight columns that weigh most, and all others in one line.
    assert browser.run(f"return document.querySelectorAll('{SECTION} .why tbody tr').length") == 9
    assert "22 others together" in text
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth") is True
    ink, paper = (
        browser.run(f"return getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor")
    )
    assert (brightness(str(ink)) > brightness(str(paper))) == dark


def brightness(colour: str) -> float:
    return sum(float(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))


def test_what_a_picture_shows_is_there_in_words(address: str, browser: Browser) -> None:
    browser.look(width=1280, height=2200, dark=False)
    try_a_row(browser, address)
    hidden = browser.run(
        f"return [...document.querySelectorAll('{SECTION} svg')]"
        ".filter(svg => !(svg.getAttribute('aria-hidden') === 'true' || svg.getAttribute('aria-label'))).length"
    )
    rows = browser.run(
        f"return [...document.querySelectorAll('{SECTION} .why tbody tr')].map(row => row.children[1].innerText)"
    )
    points = browser.run(f"return document.querySelectorAll('{SECTION} svg.reliability circle').length")
    table = browser.run(f"return document.querySelectorAll('{SECTION} svg.reliability').length") and browser.run(
        f"return document.querySelector('{SECTION} svg.reliability').closest('div').querySelectorAll('tbody tr').length"
    )
    answer = browser.run(f"return document.querySelector('{SECTION} [aria-live=polite]').innerText")

    assert hidden == 0
    assert isinstance(rows, list)
    assert all(row[0] in "+\N{MINUS SIGN}" for row in rows)
    assert points == table
    assert isinstance(points, int)
    assert points > 1
    assert "Why" in str(answer)


def test_an_answer_that_is_withheld_says_which_bound_and_which_confidence(address: str, browser: Browser) -> None:
    browser.look(width=1280, height=2200, dark=False)
    with httpx.Client(base_url=address) as client:
        description = client.get("/models/breast_cancer").json()["champion"]
        golden = {column["name"]: column["example"] for column in description["contract"]["inputs"]}

        def answered(scale: float) -> dict[str, object]:
            row = {name: value * scale if name.startswith("worst") else value for name, value in golden.items()}
            return dict(client.post("/models/breast_cancer/predict", json={"rows": [row]}).json()["predictions"][0])

        # Between a benign row and one with nuclei twice as large lies one of which the model is not sure.
        scale = next(1 + step / 50 for step in range(100) if answered(1 + step / 50)["abstained"])
        unsure = {name: str(value * scale) for name, value in golden.items() if name.startswith("worst")}
        confidence = answered(scale)["confidence"]
    text = try_a_row(browser, address, **unsure)

    assert isinstance(confidence, float)
    bound = description["contract"]["abstain_below"]
    assert f"low confidence: it is {100 * confidence:.1f} % sure, and answers from {100 * bound:.1f} % on" in text


def test_what_events_tell_of_the_last_hour_is_a_reason(trams: httpx.Client, browser: Browser, pictures: Path) -> None:
    browser.look(width=1280, height=2200, dark=False)
    now = datetime.now(UTC)
    arrived = [now - timedelta(minutes=minutes) for minutes in (20, 30, 40)]
    told = {
        "model": "tram",
        "stream": "arrivals",
        "events": [
            {"number": 5000 + place, "stop": "north", "arrived_at": at.isoformat(), "delay": 6.3}
            for place, at in enumerate(arrived)
        ],
    }
    answer = trams.post("/events", json=told)
    assert answer.status_code == 200, answer.text
    with_time = try_a_row(browser, str(trams.base_url), "#model-tram", asked_at=f"{now:%Y-%m-%dT%H:%M:%S}")
    browser.picture(pictures / "page_windows.png")
    without = try_a_row(browser, str(trams.base_url), "#model-tram")

    # The three trams were 6.3 minutes late, and from 3 on is late.
    assert "late: late" in with_time
    assert "mean delay 1h from events" in with_time
    assert "mean delay 1h missing" in without


def test_what_was_asked_a_moment_ago_is_in_the_last_hour(address: str, browser: Browser) -> None:
    browser.look(width=1280, height=2200, dark=False)

    def requests() -> int:
        return int(str(browser.run(f"return document.querySelector('{SECTION} dl.figures dd').innerText")))

    browser.open(f"{address}/")
    browser.find(f"{SECTION} form.row")
    before = requests()
    browser.click(f"{SECTION} > details > summary")
    for _ in range(3):
        browser.click(f"{SECTION} form.row button")
        browser.wait_for("Why")
    wait_for(lambda: requests() >= before + 3, 8, "the three requests on the page")

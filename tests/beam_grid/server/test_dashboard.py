"""The dashboard in a real Chromium: every view clicked through, its numbers beside DuckDB over the CSV that was landed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import httpx
import pytest

from beam_grid.landing import Lake
from tests.beam_grid.server import fleet_lake, serving
from tests.beam_grid.server.browser import Browser, browser, found
from tests.beam_grid.server.fleet_lake import (
    BLANK,
    FAR_OFF,
    HALF,
    HOSTILE,
    HOURS,
    METERS,
    ODD,
    PUMP,
    SECONDS,
    SILENT,
    START,
)

pytestmark = pytest.mark.skipif(found() is None, reason="no Chromium on this machine (docs/testing.md)")

READY = (
    "document.querySelectorAll('main section').length > 0 && "
    "[...document.querySelectorAll('main section')].every((s) => s.getAttribute('aria-busy') !== 'true')"
)
AT = "document.querySelector('main').dataset.view === '{}'"
VIEWS = ("load", "fleet", "alerts", "quality", "freshness", "queries")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return fleet_lake.make(tmp_path_factory.mktemp("fleet"))


@pytest.fixture(scope="module")
def server(made: Lake) -> Iterator[httpx.Client]:
    with serving.served(made, timeout_s=30.0) as client:
        yield client


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(chromium: Browser, server: httpx.Client) -> Iterator[Browser]:
    """Wide, light, at the start, and without an error of the console at the end."""
    chromium.size(1200, 900)
    chromium.media(prefers_color_scheme="light")
    chromium.errors.clear()
    chromium.forgives = None
    chromium.open(str(server.base_url))
    chromium.until(READY)
    yield chromium
    assert not chromium.run("window.hurt"), "a script of the data ran"
    assert not chromium.errors


@contextmanager
def served(page: Browser, lake: Lake, **settings: Any) -> Iterator[httpx.Client]:
    """A server of its own; the page is left before it ends, and what a page says of a server that ended is no error."""
    with serving.served(lake, timeout_s=30.0, **settings) as client:
        try:
            yield client
        finally:
            page.open("about:blank")
            page.until("location.href === 'about:blank'")


def to(page: Browser, view: str) -> str:
    """Click on a view's name; what the page shows then."""
    page.click(f"nav a[href='#/{view}']")
    page.until(f"location.hash.startsWith('#/{view}') && {AT.format(view)} && {READY}")
    return page.run("document.querySelector('main').innerText")


def table(page: Browser, caption: str) -> list[list[str]]:
    """Cells of the table with this caption."""
    return page.run(
        f"[...[...document.querySelectorAll('table')].find((t) => t.caption.textContent === {caption!r}).tBodies[0].rows]"
        ".map((r) => [...r.cells].map((c) => c.textContent))"
    )


@pytest.fixture(scope="module")
def raw(made: Lake) -> duckdb.DuckDBPyConnection:
    """`readings`: what was landed, each key once, rejects left out."""
    engine = duckdb.connect()
    engine.execute("SET TimeZone = 'UTC'")
    engine.execute(
        'CREATE TABLE readings AS SELECT DISTINCT ON (meter, "at") meter, TRY_CAST("at" AS TIMESTAMPTZ) AS "at", region, power '
        f"FROM read_csv('{made.path.parent / 'source' / 'a.csv'}', types = {{'at': 'VARCHAR'}}) "
        'WHERE TRY_CAST("at" AS TIMESTAMPTZ) IS NOT NULL AND power >= 0'
    )
    return engine


def test_every_view_is_a_click_away_and_says_what_it_has(page: Browser) -> None:
    for view in VIEWS:
        shown = to(page, view)
        assert "Loading" not in shown and "could not be read" not in shown and len(shown) > 100, (view, shown)
        assert page.run("document.querySelector('nav a[aria-current]').getAttribute('href')") == f"#/{view}"
    page.run("history.back()")
    page.until("location.hash === '#/freshness'")


def test_load_is_that_of_the_source_beside_other_weeks(page: Browser, raw: duckdb.DuckDBPyConnection) -> None:
    to(page, "load")
    page.until("document.querySelectorAll('canvas').length >= 3")
    last = START + timedelta(hours=HOURS - 1)
    wanted = raw.execute(
        "WITH h AS (SELECT region, date_trunc('hour', \"at\") AS h, sum(power) AS v FROM readings GROUP BY ALL) "
        "SELECT n.region, n.v, median(p.v), min(p.v), max(p.v) FROM h n JOIN h p ON p.region = n.region "
        "AND p.h IN (SELECT n.h - to_days(7 * k) FROM range(1, 9) t(k)) WHERE n.h = ? GROUP BY ALL",
        [last - timedelta(hours=1)],
    ).fetchall()
    got = {row[0]: row for row in table(page, "Load by region")}
    assert len(got) == 2
    for region, value, usual, low, high in wanted:
        _, at, now, then, _, span = got[region]
        assert at == (last - timedelta(hours=1)).strftime("%Y-%m-%d %H:%M")
        assert float(now.split()[0]) == pytest.approx(value, abs=0.01)
        assert float(then.split()[0]) == pytest.approx(usual, abs=0.01)
        assert [float(n) for n in span.split(" to ")] == pytest.approx([low, high], abs=0.01)
    measures = page.run("[...document.querySelectorAll('#choice-measure option')].map((o) => o.value)")
    assert "gold.region_hourly.power" in measures and "gold.region_hourly.volts" not in measures, "count() counts nulls"
    page.run("location.hash = '#/load?feed=pumps&of=gold.pump_hourly.flow'")
    page.until(f"document.querySelector('#choice-measure')?.value === 'gold.pump_hourly.flow' && {READY}")


def test_fleet_has_each_meter_once_and_its_state(page: Browser) -> None:
    to(page, "fleet")
    page.until("document.querySelectorAll('.rows-room .row').length === 13")
    rows = {
        subject: rest
        for subject, *rest in page.run(
            "[...document.querySelectorAll('.rows-room .row')].map((r) => [1, 0, 2].map((n) => r.children[n].textContent))"
        )
    }
    assert set(rows) == {*METERS, "(empty)"} - {BLANK}
    assert "Critical" in rows[FAR_OFF][0] and "Silent" in rows[SILENT][0] and "Silent" in rows[HALF][0]
    assert "Critical" in rows[ODD][0] and rows[ODD][1] == "volts 231 V, usually 230", "nothing is said of its power"
    assert rows[HALF][1] == "no volts of late" and rows[SILENT][1].startswith("last heard of 2026-03-29 17:")
    page.click(".filter[data-key='state-SILENT']")
    page.until("document.querySelectorAll('.rows-room .row').length === 2")
    assert "state=SILENT" in page.run("location.hash")
    page.click(".filter[data-key='state-']")
    page.until("document.querySelectorAll('.rows-room .row').length === 13")
    page.click("#find")
    page.type("m-0")
    page.press("Enter", 13, "\r")
    page.until("document.querySelectorAll('.rows-room .row').length === 9")


def test_the_keyboard_reaches_one_meter_from_the_strip(page: Browser) -> None:
    to(page, "fleet")
    page.until("document.querySelector('.strip canvas')?.width > 0")
    page.run("document.querySelector('.strip').focus()")
    page.press("ArrowRight", 39)
    page.until(f"document.querySelector('.readout').textContent.startsWith({FAR_OFF!r})")
    page.press("Enter", 13, "\r")
    page.until(f"document.querySelector('h1').textContent === 'meter {FAR_OFF}' && {READY}")
    assert table(page, "Newest values")[0][:2] == ["power", "▲ Critical"]
    assert page.run("document.activeElement.id") == "main"


def test_who_is_silent_is_told_by_value_unless_all_are(page: Browser) -> None:
    to(page, "alerts")
    rows = {row[1]: row for row in table(page, "Alerts of meters")}
    assert {name: row[:1] + row[2:3] for name, row in rows.items()} == {
        FAR_OFF: ["▲ Critical", "power"], ODD: ["▲ Critical", "volts"],
        SILENT: ["✕ Silent", "all"], HALF: ["✕ Silent", "volts"],
    }  # fmt: skip


def test_a_number_that_doubles_do_not_have_is_one_meter_and_its_newest_rows_are_drawn(
    page: Browser, server: httpx.Client
) -> None:
    page.open(f"{server.base_url}/#/fleet/pumps")
    page.until("document.querySelectorAll('.rows-room .row').length === 1")
    page.run("document.querySelector('.rows-room a').click()")
    page.until(f"document.querySelector('h1').textContent === 'pump {PUMP}' && {READY}")
    page.until("document.querySelectorAll('.plot canvas').length >= 2")
    assert f"Of its {SECONDS:,} rows of these hours the newest 10,000 are drawn." in page.run("document.body.innerText")
    page.run("document.querySelector('.plot').focus()")
    page.press("End", 35)
    page.until("document.querySelector('.chart .readout').textContent.includes('23:59')")
    page.press("Enter", 13, "\r")
    page.until(f"document.querySelector('#records table')?.tBodies[0].rows[0].cells[4].textContent === '{SECONDS + 1}'")
    page.open(f"{server.base_url}/#/fleet/pumps/{PUMP}?at=2026-03-29T21:30:00Z")
    page.until("document.body.innerText.includes('the 10,000 nearest to 2026-03-29 21:30 are drawn')")
    page.open(f"{server.base_url}/#/fleet/pumps/P-1")
    page.until("document.querySelector('main .note')?.textContent.startsWith('Nothing is known of it')")


def test_one_meter_leads_back_to_file_and_line(page: Browser, server: httpx.Client, made: Lake) -> None:
    page.open(f"{server.base_url}/#/fleet/meters/{FAR_OFF}")
    page.until(f"document.querySelector('h1')?.textContent.includes({FAR_OFF!r}) && {READY}")
    page.until("document.querySelectorAll('.plot canvas').length >= 2")
    page.run("document.querySelector('.plot').focus()")
    page.press("End", 35)
    page.until("document.querySelector('.chart .readout').textContent.includes('power')")
    page.press("Enter", 13, "\r")
    page.until("document.querySelector('#records table')")
    (row,) = page.run(
        "[...document.querySelector('#records table').tBodies[0].rows].map((r) => [...r.cells].map((c) => c.textContent))"
    )
    source = (made.path.parent / "source" / "a.csv").read_text().splitlines()
    assert row[2] == "a.csv" and source[int(row[4]) - 1].startswith(f'"{FAR_OFF}",2026-03-29T23:03'), row
    page.click("button[aria-label^='Records behind the window']", 1)
    page.until("document.querySelector('#records').innerText.includes('the window from')")


def test_a_hostile_name_stays_text(page: Browser, server: httpx.Client) -> None:
    page.open(f"{server.base_url}/#/fleet/meters/{quote(HOSTILE, safe='')}")
    page.until(f"document.querySelector('h1')?.textContent.includes('<script>') && {READY}")
    assert page.run("document.querySelector('h1').textContent") == f"meter {HOSTILE}"
    assert page.run("document.title").startswith(HOSTILE)
    assert (
        len(table(page, "gold.meter_hourly")) == 24
        and page.run("document.querySelectorAll('main img, main script').length") == 0
    )
    page.click("button[aria-label^='Records behind the window']")
    page.until("document.querySelector('#records table')")


def test_quality_has_the_ledger_the_rejects_and_the_expectations(page: Browser, server: httpx.Client) -> None:
    to(page, "quality")
    row, _ = table(page, "Ledger by feed")
    feed, _ = server.get("/api/v1/ledger").json()["feeds"]
    assert [int(cell.replace(",", "")) for cell in row[1:6]] == [
        feed[k] for k in ("read", "landed", "duplicates", "late", "rejected")
    ]
    assert feed["duplicates"] == 1 and feed["rejected"] == 2
    assert {row[2] for row in table(page, "Rejected records by cause")} == {"R-1", "time:at"}
    assert [row[1:3] for row in table(page, "Expectations")] == [["E-1: not_null(region)", "✓ passed"]]


def test_queries_and_freshness_are_told(page: Browser, server: httpx.Client) -> None:
    told = to(page, "freshness")
    assert "no follower" in told and ", in set " in told and "publishing " in told
    page.until("document.querySelector('#live').dataset.state === 'live'")
    to(page, "queries")
    page.until("[...document.querySelectorAll('dt')].some((d) => d.textContent === 'p99')")
    (hour,) = serving.sql(server, "SELECT count(*) AS n FROM gold.query_report").json()["rows"]
    assert len(table(page, "Queries by hour")) == hour["n"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_every_view_without_scrolling_sideways(page: Browser, scheme: str) -> None:
    page.size(360, 740, mobile=True)
    page.media(prefers_color_scheme=scheme)
    for view in VIEWS:
        to(page, view)
        assert page.run("document.documentElement.scrollWidth") == 360, view
    dark = page.run("getComputedStyle(document.body).backgroundColor") == "rgb(19, 24, 29)"
    assert dark == (scheme == "dark")


def test_of_a_thousand_meters_only_those_in_sight_are_elements(page: Browser) -> None:
    page.run(
        """(async () => {
            const [{ rows }, { strip }] = await Promise.all([import("/rows.js"), import("/strip.js")]);
            const items = Array.from({ length: 1000 }, (_, n) => ({ subject: `M-${n}`, state: n % 3 ? "NORMAL" : "WARNING" }));
            document.querySelector("main").replaceChildren(...strip(items, () => {}),
                rows([{ head: "Meter", cell: (item) => item.subject }], items, "thousand"));
        })()"""
    )
    for top, first in ((0, "M-0"), (18_000, "M-500"), (99_999, "M-999")):
        page.run(f"document.querySelector('.rows').scrollTop = {top}")
        page.until(f"[...document.querySelectorAll('.rows-room .row')].some((r) => r.textContent === '{first}')")
        assert page.run("document.querySelectorAll('.rows-room .row').length") < 60
    assert page.run("document.querySelector('.rows').getAttribute('aria-rowcount')") == "1001"
    assert page.run("document.querySelector('.strip canvas').height") <= 288


def test_the_theme_is_chosen_and_stays(page: Browser) -> None:
    for chosen in ("light", "dark"):
        page.click("#theme")
        assert page.run("document.querySelector('#theme').textContent") == f"Theme: {chosen}"
    page.call("Page.reload")
    page.until(f"document.querySelector('#theme')?.textContent === 'Theme: dark' && {READY}")
    assert page.run("getComputedStyle(document.body).backgroundColor") == "rgb(19, 24, 29)"
    page.click("#theme")
    assert page.run("localStorage.length") == 0


def test_an_open_alert_is_told_with_its_row_and_leads_to_its_meter(page: Browser, made: Lake, tmp_path: Path) -> None:
    from beam_grid.alerts import command

    shutil.copytree(made.path.parent, tmp_path / "copy")
    lake = Lake.open(tmp_path / "copy" / "lake", create=False)
    rule = '[[alerts]]\nname = "{}"\ntable = "silver.meters"\nkey = ["meter"]\ntime = "at"\nwhere = "{}"\nseverity = "critical"\n'
    quoted = HOSTILE.replace("'", "''").replace('"', '\\"')
    (lake.path / "alerts.toml").write_text(
        rule.format("far", f"meter = '{FAR_OFF}'") + rule.format("odd", f"meter = '{quoted}'")
    )
    assert command.check(lake, print) == 0
    with served(page, lake) as client:
        page.open(f"{client.base_url}/#/alerts")
        page.until(f"document.querySelector('main section caption')?.textContent === 'Open alerts' && {READY}")
        rows = {row[2]: row for row in table(page, "Open alerts")}
        assert rows["odd"][3] == HOSTILE and rows["far"][3] == FAR_OFF and "Critical" in rows["far"][0]
        assert f"meter {FAR_OFF}" in rows["far"][6]
        page.forgives = "(Not Found)"
        page.open(f"{client.base_url}/#/alerts?rule=none")
        page.until("document.querySelector('main section .note')?.textContent.includes('there is no rule none here')")
        page.open(f"{client.base_url}/#/alerts?rule=far")
        page.until(f"document.querySelector('h2')?.textContent === 'Open alerts of far' && {READY}")
        assert len(table(page, "Open alerts")) == 1
        assert page.run("document.querySelector('section table a').hash").startswith(f"#/fleet/meters/{FAR_OFF}?at=")
        page.run("document.querySelector('section table a').click()")
        page.until(f"document.querySelector('h1')?.textContent === 'meter {FAR_OFF}'")


def test_it_moves_by_itself(page: Browser, made: Lake, tmp_path: Path) -> None:
    """A copy of the lake, so that the other tests' stays as it is."""
    shutil.copytree(made.path.parent, tmp_path / "copy")
    lake = Lake.open(tmp_path / "copy" / "lake", create=False)
    with served(page, lake) as client:
        page.open(f"{client.base_url}/#/quality")
        page.until(f"document.querySelector('#live')?.dataset.state === 'live' && {READY}")
        assert int(table(page, "Ledger by feed")[0][2].replace(",", "")) == len(fleet_lake.lines(0, HOURS))
        page.run("window.stays = 1")
        fleet_lake.write(tmp_path / "copy" / "source", "b.csv", fleet_lake.lines(HOURS, HOURS + 2))
        fleet_lake.run(tmp_path / "copy")
        more = len(fleet_lake.lines(0, HOURS + 2))
        page.until(
            f"document.querySelector('caption').closest('table').tBodies[0].rows[0].cells[2].textContent === '{more:,}'"
        )
        assert page.run("window.stays") == 1, "the page was loaded anew"


def test_what_a_lake_lacks_is_said_in_place(page: Browser, tmp_path: Path) -> None:
    with served(page, Lake.open(tmp_path / "empty")) as client:
        page.open(str(client.base_url))
        page.until("document.querySelector('main .note')")
        for view in VIEWS:
            page.run(f"location.hash = '#/{view}'")
            page.until(
                f"location.hash === '#/{view}' && document.querySelector('nav a[aria-current]').hash === '#/{view}' && document.querySelector('main .note') && ({READY} || !document.querySelector('main section'))"
            )
        assert "Nothing has landed yet" in to(page, "quality")
        page.run("location.hash = '#/nowhere'")
        page.until("document.querySelector('h1').textContent === 'There is no such view'")
        page.open(f"{client.base_url}/#/fleet/nobody/X")
        page.until("document.querySelector('main .note')?.textContent.includes('is not in this lake')")


def test_a_key_is_asked_for_and_kept_in_the_tab(page: Browser, made: Lake, tmp_path: Path) -> None:
    from beam_grid.server.commands import add_key, revoke_key

    keys = str(tmp_path / "keys.json")
    page.forgives = "(Unauthorized)"
    key = add_key("dashboard", (str(made.path),), keys, (), "1000/second", None)
    with served(page, made, require_keys=True, keys_file=Path(keys)) as client:
        page.open(str(client.base_url))
        page.until("document.activeElement?.id === 'key'")
        page.type("wrong")
        page.press("Enter", 13, "\r")
        page.until("document.querySelector('#key-about')?.textContent.includes('was not accepted')")
        page.type(key)
        page.press("Enter", 13, "\r")
        page.until(f"{READY} && document.querySelector('#live').dataset.state === 'live'")
        assert page.run("JSON.stringify([localStorage.length, sessionStorage.length])") == "[0,1]"
        narrow = add_key("narrow", (str(made.path),), keys, ("gold.meters_now", "gold.*_hourly"), "1000/second", None)
        page.run(f"sessionStorage.setItem('beam-grid-key', {narrow!r})")
        page.call("Page.reload")
        page.until(f"document.querySelector('#choice-measure') && {READY}")
        assert len(table(page, "Load by region")) == 2
        to(page, "fleet")
        page.until("document.querySelectorAll('.rows-room .row').length === 13")
        for view, said in (("quality", "Nothing has landed yet, or it is beyond the tables that your key reaches."),
                           ("quality", "bronze.rejected is not in this lake, or it is beyond"),
                           ("freshness", "Nothing has landed yet, or it is beyond")):  # fmt: skip
            assert said in (shown := to(page, view)) and "Nothing is wrong" not in shown
        page.open(f"{client.base_url}/#/fleet/meters/{FAR_OFF}")
        page.until(f"document.querySelector('h1')?.textContent.includes({FAR_OFF!r}) && {READY}")
        assert "silver.meters is not in this lake, or it is beyond" in page.run("document.body.innerText")
        assert len(table(page, "gold.meter_hourly")) == 24
        page.run(f"sessionStorage.setItem('beam-grid-key', {key!r})")
        page.call("Page.reload")
        page.until(f"{READY} && document.querySelector('#live').dataset.state === 'live'")
        revoke_key("dashboard", (str(made.path),), keys)
        page.click("nav a[href='#/quality']")
        page.until("document.querySelector('#key')")

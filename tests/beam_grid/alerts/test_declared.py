"""What is wrong with an alerts.toml is said at once: file, entry, word, remedy."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from beam_grid.alerts.declared import parsed
from beam_grid.errors import GridError
from tests.beam_grid.service.small import contract, ran, write

GOOD = """
[[alerts]]
name = "high"
table = "silver.readings"
key = ["meter"]
where = "kwh > 20"

[[sinks]]
name = "out"
kind = "file"
path = "out.jsonl"
"""

WRONG = [
    ('kind = "file"', 'kind = "pigeon"', "pigeon"),
    ('path = "out.jsonl"', "", "path"),
    ('key = ["meter"]', "", "key"),
    ('key = ["meter"]', "key = []", "key: is empty"),
    ('name = "high"', 'name = "a b"', "name: use letters"),
    ('table = "silver.readings"', 'tabel = "silver.readings"', "tabel"),
    ('table = "silver.readings"', 'table = "/etc/passwd"', "is no table of a lake"),
    ('table = "silver.readings"', "", "give one of"),
    ('table = "silver.readings"', "sql = \"DELETE FROM silver.readings\"", "not allowed"),
    ('table = "silver.readings"', "sql = \"SELECT * FROM read_csv('/etc/passwd')\"", "read_csv"),
    ('table = "silver.readings"', 'sql = "SELECT 1; SELECT 2"', "one at a time"),
    ('where = "kwh > 20"', 'where = "kwh >"', "where"),
    ('where = "kwh > 20"', 'where = "true; DROP TABLE silver.readings"', "where"),
    ('where = "kwh > 20"', "where = \"getenv('HOME') = ''\"", ""),
    ('where = "kwh > 20"', 'where = "kwh > 20"\nfor = "soon"', "for: 'soon'"),
    ('where = "kwh > 20"', 'where = "kwh > 20"\nwithin = "1h"', "needs time"),
    ('where = "kwh > 20"', 'where = "kwh > 20"\nsinks = ["ops"]', "there is no sink 'ops'"),
    ('where = "kwh > 20"', 'where = "kwh > 20"\nescalate_to = ["out"]', "escalate_after"),
    ('where = "kwh > 20"', 'where = "kwh > 20"\nbudget = 0', "at least 1"),
    ('where = "kwh > 20"', 'where = "kwh > 20"\nseverity = "bad"', "severity"),
    ('kind = "file"\npath = "out.jsonl"', 'kind = "webhook"\nurl = "https://user:pw@host/"', "url"),
    ('kind = "file"\npath = "out.jsonl"', 'kind = "webhook"\nurl = "https://host/"\nsecret = "hush"', "secret"),
    ('kind = "file"\npath = "out.jsonl"', 'kind = "webhook"\nurl = "https://host/"\nsecret = {}', "secret: write"),
    ('kind = "file"\npath = "out.jsonl"', 'kind = "email"\nhost = "h"\nto = ["a b"]\nsender = "g@x"', "to: write"),
    ('kind = "file"\npath = "out.jsonl"', 'kind = "email"\nhost = "h"\nto = ["a@["]\nsender = "g@x"', "to: write"),
    ('kind = "file"\npath = "out.jsonl"', 'kind = "email"\nhost = "h"\nto = ["a@b"]\nsender = "g@x"\nuser = "u"', "go together"),
    ("[[sinks]]", '[[alerts]]\nname = "high"\ntable = "gold.x"\nkey = ["a"]\nwhere = "b"\n[[sinks]]', "declared twice"),
    ("[[sinks]]", "[[maintenance]]\n[[sinks]]", "give one of"),
    ("[[sinks]]", '[[maintenance]]\nfeed = "m"\nrules = ["low"]\n[[sinks]]', "no alert 'low'"),
    ("[[sinks]]", "[[maintenance]]\nstarts = 2026-01-02T00:00:00Z\nends = 2026-01-01T00:00:00Z\n[[sinks]]", "after starts"),
    ("\n[[alerts]]", 'dashboard = "grid"\n[[alerts]]', "dashboard"),
]  # fmt: skip


@pytest.mark.parametrize(("right", "wrong", "said"), WRONG)
def test_a_wrong_word_is_named(right: str, wrong: str, said: str) -> None:
    assert right in GOOD
    with pytest.raises(GridError) as cause:
        parsed(GOOD.replace(right, wrong), "LAKE/alerts.toml")
    assert str(cause.value).startswith("LAKE/alerts.toml") and said in str(cause.value)
    assert "hush" not in str(cause.value), "what may be a secret is not repeated"


def test_a_run_that_follows_does_not_start_with_a_wrong_file(tmp_path: Path) -> None:
    write(tmp_path / "in", "0.csv")
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "alerts.toml").write_text(GOOD.replace("kwh > 20", "kwh >"))
    done = ran("run", "--follow", "--contract", str(contract(tmp_path)), "--source", str(tmp_path / "in"), "--lake",
               str(tmp_path / "lake"))  # fmt: skip
    assert done.returncode == 2 and re.search(r"alerts\.toml, alert 'high': where", done.stderr), done.stderr


def test_what_the_page_shows_is_read() -> None:
    page = Path(__file__).parents[3] / "docs" / "alerts.md"
    shown = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.S)
    assert shown
    for text in shown:
        sinks = (
            "" if "[[sinks]]" in text else "".join(f'[[sinks]]\nname = "{n}"\nkind = "log"\n' for n in ("ops", "pager"))
        )
        parsed(text + sinks, "docs/alerts.md")

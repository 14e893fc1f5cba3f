"""One declaration, its faces: what each says of it."""

from __future__ import annotations

import pyarrow as pa
import pytest

from data_sources import faces
from data_sources.contract import LINEAGE, Contract, parse_contract


def contract() -> Contract:
    types = ["string", "int64", "float64", "decimal(10,2)", "bool", "date", "timestamp"]
    fields = [{"name": t.split("(")[0] + "_", "type": t, "unit": "kWh"} for t in types]
    return parse_contract(
        {
            "name": "feed", "format": "csv", "event_time": "timestamp_", "allowed_lateness": "90m", "description": "A feed.",
            "dedup": {"key": ["string_"]}, "lake": {"cluster_by": ["string_", "date_"]}, "files": ["a|b.csv"],
            "fields": [{**f, "description": "a | b\nand more"} for f in fields],
            "windows": [{"name": "w", "size": "1h", "by": ["bool_"], "measures": {"either": "count_if(bool_ OR int64_ > 1)"}}],
            "rules": [{"id": "R-1", "check": "string_ || 'x' <> 'y'", "on_fail": "warn"}],
        },
        "feed.toml",
    )  # fmt: skip


def test_ddl() -> None:
    text = faces.ddl(contract())
    assert text.startswith("CREATE TABLE silver.`feed` (\n  `string_` STRING NOT NULL,\n  `int64_` BIGINT,\n  `float64_` DOUBLE,\n  `decimal_` DECIMAL(10,2),\n"
                           "  `bool_` BOOLEAN,\n  `date_` DATE,\n  `timestamp_` TIMESTAMP NOT NULL,\n  `_source` STRING,\n")  # fmt: skip
    assert text.endswith(") USING DELTA\nCLUSTER BY (`string_`, `date_`)")
    assert text.count("\n  `") == 7 + len(LINEAGE)
    plain = contract().model_copy(update={"lake": contract().lake.model_copy(update={"cluster_by": []})})
    assert "CLUSTER BY" not in faces.ddl(plain)


def test_arrow() -> None:
    lines = faces.arrow(contract()).splitlines()
    assert (
        len(lines) == 7 + len(LINEAGE)
        and lines[3] == "decimal_: decimal128(10, 2)"
        and lines[6] == "timestamp_: timestamp[us, tz=UTC] not null"
    )


def test_markdown_tables_hold_together() -> None:
    """A | or a line break in a text must not cut a table's row."""
    text = faces.markdown(contract())
    assert text.startswith("# feed\n\nA feed.\n")
    for block in text.split("\n\n"):
        if block.startswith("|"):
            widths = {row.replace("\\|", "").count("|") for row in block.splitlines()}
            assert len(widths) == 1, block
    for words in (
        "| allowed lateness | 90m |",
        "| `string_` | string | no | kWh |",
        "a \\| b and more",
        "| gold.w | 1h | 1h | bool_ |",
        "| R-1 | `string_ \\|\\| 'x' <> 'y'` | warn |",
    ):
        assert words in text


def test_every_type_has_a_name_in_spark() -> None:
    for field in contract().landed_schema:
        assert faces.spark_type(field.type).isupper()
    with pytest.raises(KeyError):
        faces.spark_type(pa.list_(pa.int64()))

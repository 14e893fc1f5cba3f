"""docs/operations.md: its tables say what the code has, word for word."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from pathlib import Path

import msgspec
import yaml

from beam_grid.service.lakes import ServedLake
from beam_grid.service.metrics import METRICS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[str]:
    """Rows of the first table below a heading."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table = re.search(r"^\|[^\n]*\n\|[-|]+\n((?:\|[^\n]*\n)+)", section, re.MULTILINE)
    assert table is not None
    return table[1].splitlines()


def told(kind: type) -> dict[str, str]:
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    return {
        field.target.id: " ".join(ast.literal_eval(text.value).split())
        for field, text in zip(body.body, body.body[1:], strict=False)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr)
    }


def test_the_metrics_are_those_of_the_code() -> None:
    labels = {metric.full_name: ", ".join(f"`{label}`" for label in metric.labels) for metric in METRICS}
    assert rows("Metrics") == [
        f"| `{metric.full_name}` | {metric.kind} | {labels[metric.full_name]} | {metric.help} |" for metric in METRICS
    ]


def test_the_words_of_a_file_of_lakes_are_those_of_the_code() -> None:
    meaning = told(ServedLake)
    assert rows("Several lakes") == [
        f"| `{field.name}` | {'needed' if field.required else msgspec.json.encode(field.default).decode()} | "
        f"{meaning[field.name]} |"
        for field in msgspec.structs.fields(ServedLake)
    ]


def test_the_example_of_several_lakes_is_one(tmp_path: Path) -> None:
    from beam_grid.service.lakes import served_lakes

    (text,) = re.findall(r"```toml\n(\[\[lakes\]\].*?)```", PAGE, re.DOTALL)
    (tmp_path / "lakes.toml").write_text(text)
    assert len(served_lakes(str(tmp_path / "lakes.toml"))) == 2


def test_each_alert_is_told() -> None:
    groups = yaml.safe_load((ROOT / "ops" / "prometheus" / "alerts.yml").read_text())["groups"]
    alerts = [rule["alert"] for group in groups for rule in group["rules"]]
    assert [re.findall(r"`(\w+)`", row)[0] for row in rows("Alerts")] == alerts

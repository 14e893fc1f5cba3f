"""The files of ops/ name what a running follower has: metrics, labels and options; each is read by its own kind of parser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from beam_grid.cli import cli
from beam_grid.service.metrics import METRICS
from tests.ops.follower import following

OPS = Path(__file__).resolve().parents[2] / "ops"

_OF_PROMETHEUS = {"up": {"job", "instance"}}
"""What Prometheus itself adds, to every target and, as labels, to every series."""


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """By name of each metric that a running follower has, with or without a sample yet: its labels."""
    with following(tmp_path_factory.mktemp("ops")) as follower:
        follower.until("metrics", 'beam_grid_published_commit{feed="meters",')
        text = follower.until("metrics", "beam_grid_refined_time_seconds{")
    found: dict[str, set[str]] = {name: set(labels) for name, labels in _OF_PROMETHEUS.items()}
    for name in re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE):
        found[name] = {"job", "instance"}
    for metric in METRICS:
        assert metric.full_name in found, f"declared, and a follower has none: {metric.full_name}"
        found[metric.full_name] |= {"lake", *metric.labels}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            assert set(sample.labels) <= found[sample.name], f"{sample} has labels that are not declared"
    return found


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((OPS / "prometheus" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    return json.loads((OPS / "grafana" / "beam-grid.json").read_text())


def queries() -> list[tuple[str, str]]:
    """(where, expression) of all rules and panels, as Prometheus would get them."""
    found = [(rule["alert"], rule["expr"]) for rule in rules()]
    for panel in dashboard()["panels"]:
        found += [(panel["title"], target["expr"].replace("$__rate_interval", "1m")) for target in panel["targets"]]
    return found


@cache
def selectors(expression: str) -> list[tuple[str, frozenset[str]]]:
    """(metric, labels it is asked by) of a PromQL expression; raises ValueError where it is none."""
    found: list[tuple[str, frozenset[str]]] = []

    def walk(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append((node.name, frozenset(m.name for m in node.matchers.matchers)))
        for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
            if (child := getattr(node, name, None)) is not None:
                walk(child)
        args = getattr(node, "args", None)
        for child in args if isinstance(args, list) else []:
            walk(child)

    walk(promql_parser.parse(expression))
    return found


@pytest.mark.parametrize(("where", "expression"), queries(), ids=[where for where, _ in queries()])
def test_each_query_asks_for_metrics_and_labels_that_are_there(
    where: str, expression: str, series: dict[str, set[str]]
) -> None:
    asked = selectors(expression)
    assert asked, "it asks for nothing"
    grouped = set(re.findall(r"\b(?:by|on|ignoring)\s*\(([^)]*)\)", expression))
    for metric, labels in asked:
        assert metric in series, f"no metric {metric}; there are {sorted(series)}"
        assert labels <= series[metric], f"{metric} has no label {labels - series[metric]}"
    known = set().union(*(series[metric] for metric, _ in asked))
    for group in grouped:
        assert {name.strip() for name in group.split(",")} <= known, f"none has all labels of ({group})"


def test_a_query_that_is_none_or_names_another_metric_would_be_found(series: dict[str, set[str]]) -> None:
    with pytest.raises(ValueError, match=r"."):
        promql_parser.parse("sum by (feed (beam_grid_commits_total)")
    assert [name for name, _ in selectors("rate(a_total[5m]) / on (feed) b > 0 and absent(c{x='y'})")] == [
        "a_total", "b", "c",
    ]  # fmt: skip
    assert "beam_grid_commit_total" not in series


def test_rules_have_what_prometheus_and_a_person_need() -> None:
    found = rules()
    assert len({rule["alert"] for rule in found}) == len(found) >= 10
    for rule in found:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "1m"))


def test_the_dashboard_is_whole() -> None:
    found = dashboard()
    ids, places = [p["id"] for p in found["panels"]], [p["gridPos"] for p in found["panels"]]
    assert len(set(ids)) == len(ids)
    for n, a in enumerate(places):
        assert a["x"] + a["w"] <= 24
        for b in places[n + 1 :]:
            apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], "two panels lie on each other"
    variables = {v["name"] for v in found["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(found["panels"]))) - {"__rate_interval"}
    assert used <= variables


def unit() -> list[str]:
    return (OPS / "systemd" / "beam-grid@.service").read_text().splitlines()


_YES, _TIME, _COUNT = r"yes|no", r"\d+(s|min|h|d)?", r"\d+"
_WORDS: dict[str, dict[str, str]] = {
    "Unit": {
        "Description": r".+", "Wants": r"\S+\.target", "After": r"\S+\.target", "StartLimitIntervalSec": _TIME,
        "StartLimitBurst": _COUNT,
    },
    "Service": {
        "Type": r"simple|exec|notify|oneshot", "User": r"[a-z][\w-]*", "Group": r"[a-z][\w-]*",
        "EnvironmentFile": r"-?/\S+", "Environment": r"[A-Z_]+=\S+( [A-Z_]+=\S+)*", "ExecStart": r"/\S+ .+",
        "StateDirectory": r"[\w-]+", "WorkingDirectory": r"/\S+", "KillSignal": r"SIG[A-Z]+",
        "KillMode": r"control-group|mixed|process|none", "TimeoutStopSec": _TIME,
        "Restart": r"no|always|on-(success|failure|abnormal|watchdog|abort)", "RestartSec": _TIME,
        "MemoryMax": r"\d+[KMGT]?", "TasksMax": _COUNT, "LimitNOFILE": _COUNT, "OOMPolicy": r"continue|stop|kill",
        "ProtectSystem": r"yes|no|full|strict", "ProtectHome": r"yes|no|read-only|tmpfs",
        "ProtectProc": r"noaccess|invisible|ptraceable|default", "RestrictAddressFamilies": r"AF_[A-Z0-9]+( AF_[A-Z0-9]+)*",
        "CapabilityBoundingSet": r"(CAP_[A-Z_]+ ?)*", "SystemCallArchitectures": r"native", "SystemCallFilter": r"@[a-z-]+",
        "SystemCallErrorNumber": r"E[A-Z]+", "UMask": r"0[0-7]{3}",
        **dict.fromkeys((
            "NoNewPrivileges", "PrivateTmp", "PrivateDevices", "ProtectClock", "ProtectControlGroups", "ProtectHostname",
            "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "RestrictNamespaces", "RestrictRealtime",
            "RestrictSUIDSGID", "LockPersonality",
        ), _YES),
    },
    "Install": {"WantedBy": r"\S+\.target"},
}  # fmt: skip
"""What systemd.unit, .service, .exec and .resource-control allow, of what the unit uses."""


def wrong(lines: list[str]) -> list[str]:
    """Lines that no section knows, or with a value that is none."""
    found, section = [], ""
    for line in lines:
        if heading := re.fullmatch(r"\[(\w+)\]", line):
            section = heading[1]
        elif line and not line.startswith("#"):
            word, _, value = line.partition("=")
            if not re.fullmatch(_WORDS.get(section, {}).get(word, r"(?!)"), value):
                found.append(line)
    return found


def test_the_systemd_unit_has_words_and_values_that_systemd_knows() -> None:
    assert wrong(unit()) == []
    assert {line for line in unit() if line.startswith("[")} == {"[Unit]", "[Service]", "[Install]"}
    for right, broken in (
        ("KillMode=mixed", "KillMode=gently"),
        ("Restart=on", "Restarts=on"),
        ("[Install]", "[Instal]"),
    ):
        assert wrong("\n".join(unit()).replace(right, broken).splitlines()), broken


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here; the test above needs none")
def test_the_systemd_unit_is_one(tmp_path: Path) -> None:
    """Verified with a command that is here, because systemd asks for the one of ExecStart; else as it stands."""
    text = "\n".join(unit()) + "\n"
    command = re.search(r"^ExecStart=(\S+)", text, re.MULTILINE)
    assert command is not None
    placed = tmp_path / "beam-grid@north.service"
    placed.write_text(text.replace(command[1], sys.executable))
    verify = ["systemd-analyze", "verify", "--man=no"]
    done = subprocess.run([*verify, str(placed)], capture_output=True, text=True, check=False)
    about = [line for line in done.stderr.splitlines() if placed.name in line or "beam-grid" in line]
    assert (done.returncode, about) == (0, []), done.stderr
    broken = tmp_path / "beam-grid@south.service"
    broken.write_text(text.replace("KillMode=mixed", "KillMode=gently"))
    done = subprocess.run([*verify, str(broken)], capture_output=True, text=True, check=False)
    assert "kill mode" in done.stderr, "verify finds what is wrong"


def test_options_of_units_and_containers_are_those_of_the_command_line() -> None:
    for arguments in commands():
        name, *rest = arguments
        made = cli.commands[name].make_context(name, list(rest), resilient_parsing=False)
        assert made.params["follow"] and made.params["lake"]


def commands() -> Iterator[list[str]]:
    """`run` and what follows it, of the unit and of each service of the compose file."""
    line = next(line for line in unit() if line.startswith("ExecStart="))
    words = line.removeprefix("ExecStart=").replace("${SOURCE}", "kafka://b:9092").split()
    assert words[0].endswith("/beam-grid")
    yield [*(w for w in words[1:] if w != "$OPTIONS"), "--lake", "/lake"]
    followers = [s["command"] for s in compose()["services"].values() if s.get("command", [""])[0] == "run"]
    assert followers
    yield from ([*command, "--lake", "/lake"] for command in followers)


def compose() -> dict[str, Any]:
    return yaml.safe_load((OPS / "compose.yml").read_text())


def test_the_compose_file_fits_together() -> None:
    services = compose()["services"]
    for name, service in services.items():
        assert set(service.get("depends_on", ())) <= set(services), name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), f"{name} would listen for others"
        for volume in service.get("volumes", ()):
            source = volume.split(":")[0]
            assert (OPS / source).exists() if source.startswith(".") else source in compose()["volumes"], volume
    broker = services["broker"]["environment"]
    assert broker["KAFKA_PROCESS_ROLES"] == "broker,controller"
    scraped = yaml.safe_load((OPS / "prometheus" / "prometheus.yml").read_text())
    target = scraped["scrape_configs"][0]["static_configs"][0]["targets"][0]
    assert scraped["scrape_configs"][0]["job_name"] == "beam-grid", "as the rules and panels call it"
    assert target == f"follower:{services['follower']['command'][-3]}"
    simulator = services["producer"]["entrypoint"][-1].rsplit(".", 1)
    assert (OPS.parent / simulator[0].replace(".", "/") / f"{simulator[1]}.py").exists()


def test_the_container_listens_where_its_health_is_asked() -> None:
    text = (OPS / "Containerfile").read_text()
    port = re.search(r"BEAM_GRID_METRICS_PORT=(\d+)", text)
    assert port is not None and f"127.0.0.1:{port[1]}/healthz" in text
    assert re.search(r"^USER (?!root)", text, re.MULTILINE) and "STOPSIGNAL SIGTERM" in text
    assert 'ENTRYPOINT ["beam-grid"]' in text

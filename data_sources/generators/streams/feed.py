"""A feed made from its spec: files and their truth, as every source's `generate` gives them, or a paced stream."""

from __future__ import annotations

import math
from pathlib import Path

from data_sources.contract import load_contract
from data_sources.generators.streams.emit import Emitted, emit
from data_sources.generators.streams.load import load_spec
from data_sources.generators.streams.sinks import JsonFiles, Kafka, ParquetFiles, Sink
from data_sources.generators.streams.spec import StreamSpec
from data_sources.generators.streams.stream import Stream
from data_sources.generators.streams.tally import Tally
from data_sources.generators.streams.words import SpecError
from data_sources.generators.truth import record, withdraw


def generate_feed(folder: Path, out: Path, *, seed: int, scale: float, days: int, messy: bool) -> dict[str, int]:
    """Write `out/<feed>/<feed>_NNNNNN.json` and `out/truth.json` by the spec.toml and contract.toml in `folder`.

    A day has `round(rows_per_day * scale)` records, a file as many as the spec says. Returns the counts of truth.json.
    Raises ValueError for an argument out of range.
    """
    spec = load_spec(folder / "spec.toml")
    stream = daily(spec, seed=seed, scale=scale, days=days, messy=messy)
    tally = Tally(load_contract(folder / "contract.toml").lateness)
    out.mkdir(parents=True, exist_ok=True)
    withdraw(out, spec.name)
    emit(stream, JsonFiles(out / spec.name, spec.name, spec.records_per_file), tally=tally)
    counts = tally.counts()
    record(out, spec.name, counts)
    return counts


def emit_feed(
    spec: StreamSpec,
    out: Path | None,
    kafka: str | None,
    *,
    seed: int,
    scale: float,
    days: int,
    messy: bool,
    rate: float | None = None,
    seconds: float | None = None,
    rows: int | None = None,
    form: str | None = None,
    records_per_file: int | None = None,
) -> Emitted:
    """Send a spec's stream into files below `out`, or to its topic on the broker `kafka`; returns what was sent.

    With `seconds` or `rows` it goes on and on until then, else for `days` with `scale` times the spec's rows each. JSON
    files of a spec with a contract.toml beside it get their entry in `out/truth.json`. Raises ValueError.
    """
    endless = seconds is not None or rows is not None
    stream = daily(spec, seed=seed, scale=scale, days=days, messy=messy)
    if endless:
        stream = Stream(spec, seed, messy=messy)
    contract = spec.path.parent / "contract.toml"
    tally = None
    if out is not None:
        withdraw(out, spec.name)
        if form != "parquet" and contract.is_file():
            tally = Tally(load_contract(contract).lateness)
    sink = _sink(spec, out, kafka, form, records_per_file)
    done = emit(stream, sink, rate=rate, seconds=seconds, rows=rows, tally=tally)
    if out is not None and tally is not None:
        record(out, spec.name, tally.counts())
    return done


def daily(spec: StreamSpec, *, seed: int, scale: float, days: int, messy: bool) -> Stream:
    """The stream of some whole days. Raises ValueError for an argument out of range."""
    per_day = rows_a_day(spec.rows_per_day, scale)
    if days < 1:
        raise ValueError(f"days is {days}: give at least 1")
    return Stream(spec, seed, total=per_day * days, per_day=per_day, messy=messy)


def rows_a_day(rows_per_day: int, scale: float) -> int:
    """Records of a day at `scale`: at least one. Raises ValueError for a scale out of range."""
    most = 86_400_000
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale is {scale}: give a number above 0, such as 1 ({rows_per_day:,} records a day)")
    if rows_per_day * scale > most:
        raise ValueError(f"scale is {scale}: give at most {most / rows_per_day:g} (a record a millisecond)")
    return max(1, round(rows_per_day * scale))


def _sink(spec: StreamSpec, out: Path | None, kafka: str | None, form: str | None, per_file: int | None) -> Sink:
    if out is not None:
        files = ParquetFiles if form == "parquet" else JsonFiles
        return files(out / spec.name, spec.name, per_file or spec.records_per_file)
    if form is not None or per_file is not None:
        raise ValueError("--format and --records-per-file are for files; give --out DIR instead of --kafka")
    if spec.topic is None:
        raise SpecError(f"spec {spec.path}, topic: is missing; add the topic to send to")
    return Kafka(kafka or "", spec.topic, spec.key)

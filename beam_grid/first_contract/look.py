"""What the sample is: which files are taken, and their rows by column. Reading is the product's own (`sources.opening`).

A folder may hold files of several kinds, or of one kind with other columns: the kind that most files have is taken,
with those whose columns are like the first one's; the rest is named.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from beam_grid.first_contract.model import Column, Sample
from data_sources.contract import Contract, parse_contract
from data_sources.sources import SourceError
from data_sources.sources.finding import Found, list_files
from data_sources.sources.kinds import kind_of
from data_sources.sources.opening import bare, opened

ROWS = 10_000
"""Rows a sample has at most."""
BYTES = 8 << 20
"""Bytes read at most, of all files together."""
MOST_FILES = 8
_KINDS = {
    ".csv": "csv", ".txt": "csv", ".tsv": "csv", ".tab": "csv", ".dat": "csv", ".xlsx": "xlsx", ".json": "json",
    ".jsonl": "json", ".ndjson": "json", ".geojson": "json", ".parquet": "parquet", ".db": "sqlite", ".sqlite": "sqlite",
    ".sqlite3": "sqlite", ".sqlite-db": "sqlite",
}  # fmt: skip


def look_at(address: str, kafka_config: str | None = None) -> Sample:
    """The sample at a file, folder, glob or topic. Raises SourceError where there is nothing to tell a contract from."""
    from data_sources.sources import kafka

    if kafka.is_kafka(address):
        from beam_grid.first_contract.messages import of_topic

        return of_topic(address, kafka_config)
    found = [Found(os.path.abspath(address), os.path.basename(address))] if _is_one(address) else list_files(address)
    if not found:
        raise SourceError(f"source {address}: holds no files")
    groups: dict[str, list[Found]] = {}
    left: list[str] = []
    for file in found:
        try:
            groups.setdefault(_kind(file), []).append(file)
        except (SourceError, OSError) as cause:
            left.append(f"{file.name}: {cause}")
    if not groups:
        raise SourceError(f"source {address}: " + "; ".join(left[:3]))
    kind = max(groups, key=lambda name: len(groups[name]))
    left += [f"{f.name}: is {name}, and most files are {kind}" for name in groups if name != kind for f in groups[name]]
    sample = _of_files(address, kind, groups[kind])
    sample.left += left
    return sample


def _is_one(address: str) -> bool:
    return os.path.isfile(address) and not address.lower().endswith(".zip")


def _kind(file: Found) -> str:
    """What a file is, by its first bytes, else by its ending. Raises SourceError for what no feed can be made of."""
    ending = os.path.splitext(bare(file.path))[1].lower()
    if _KINDS.get(ending) == "xlsx":
        return "xlsx"
    head = head_of(file.path, 4096)
    if not head.strip():
        raise SourceError("is empty")
    seen = kind_of(head)
    if seen == "Parquet":
        return "parquet"
    if seen == "an SQLite database":
        return "sqlite"
    if seen is not None and "UTF-16" not in seen:
        raise SourceError(
            f"is {seen}, and no feed reads that; contracts are told from CSV, JSON, Parquet, SQLite, .xlsx"
        )
    if _KINDS.get(ending) in ("parquet", "sqlite"):
        raise SourceError(f"is no {_KINDS[ending]}, though its name ends with {ending}")
    begins = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    return "json" if begins in (b"{", b"[") and _KINDS.get(ending) != "csv" else "csv"


def _of_files(address: str, kind: str, files: list[Found]) -> Sample:
    look: Callable[[Found, str, int], Sample]
    if kind in ("csv", "xlsx"):
        from beam_grid.first_contract.csv_files import of_csv as look
    elif kind == "json":
        from beam_grid.first_contract.json_files import of_json as look
    else:
        from beam_grid.first_contract.typed_files import of_typed as look
    samples: list[Sample] = []
    left: list[str] = []
    for file in files[:MOST_FILES]:
        try:
            sample = look(file, address, BYTES // min(len(files), MOST_FILES))
        except (SourceError, OSError, UnicodeDecodeError, ValueError) as cause:
            left.append(f"{file.name}: {cause}")
            continue
        if not samples or _alike(samples[0], sample):
            samples.append(sample)
        else:
            left.append(f"{file.name}: has other columns than {samples[0].files[0]}; it needs a contract of its own")
    if not samples:
        raise SourceError(f"source {address}: " + "; ".join(left[:3]))
    joined = _joined(samples)
    joined.left = left
    joined.globs = _globs(
        files, kind, [s.files[0] for s in samples], has_others=bool(left), is_document="records" in joined.layout
    )
    if len(files) > MOST_FILES:
        joined.notes["files"] = f"{MOST_FILES} of {len(files):,} files were looked at"
    return joined


def _alike(one: Sample, other: Sample) -> bool:
    """Whether a second file is the same feed's: written alike, as many columns, and half of their names equal."""
    if one.layout.get("delimiter") != other.layout.get("delimiter") or one.layout.get("table") != other.layout.get(
        "table"
    ):
        return False
    if one.layout.get("encoding") != other.layout.get("encoding") or one.layout.get("records") != other.layout.get(
        "records"
    ):
        return False
    a, b = ([c.name for c in s.columns] for s in (one, other))
    same = len(set(a) & set(b))
    if one.format != "csv":
        return same * 2 >= min(len(a), len(b))
    return same * 2 >= len(a) or (len(a) == len(b) and same * 2 >= len(a) - 1 > 0)


def _joined(samples: Sequence[Sample]) -> Sample:
    """The files' rows one below the other; of a column that a CSV file names otherwise, the other names."""
    first = samples[0]
    columns = {c.name: c for c in first.columns}
    for sample in samples[1:]:
        rows = first.rows
        given: dict[str, Column] = {}
        for at, column in enumerate(sample.columns):
            name = column.name
            if name not in columns and first.format == "csv" and len(sample.columns) == len(first.columns):
                place = first.columns[at]
                if place.name not in {c.name for c in sample.columns}:
                    name = place.name
                    place.aliases += [column.name] if column.name not in place.aliases else []
            if name not in columns:
                columns[name] = Column(name, [None] * rows, column.kinds, type=column.type)
                first.columns.append(columns[name])
            given[name] = column
        for column in first.columns:
            extra = given[column.name].values if column.name in given else [None] * sample.rows
            column.values = [*column.values, *extra]
            if column.name in given:
                column.kinds |= given[column.name].kinds
                column.type = column.type if column.type == given[column.name].type else None
            column.forget()
        first.files += sample.files
        first.layout |= {w: v for w, v in sample.layout.items() if w in ("last_line", "short_rows")}
        first.notes |= {w: v for w, v in sample.notes.items() if w not in first.notes}
    return first


def _globs(files: list[Found], kind: str, taken: list[str], *, has_others: bool, is_document: bool) -> list[str]:
    """What `files` must say for these to be read: nothing where their endings are the format's own."""
    own = {"csv": (".csv", ".txt"), "json": (".json", ".jsonl", ".ndjson"), "parquet": (".parquet",),
           "sqlite": (".db", ".sqlite", ".sqlite3"), "xlsx": ()}[kind]  # fmt: skip
    if is_document:
        own = (".json",)
    names = taken if has_others else [f.name for f in files]
    endings = sorted({os.path.splitext(bare(n))[1].lower() for n in names})
    packed = sorted({os.path.splitext(n)[1].lower() for n in names if bare(n) != n})
    strange = [f"*{e}" if e else "*" for e in endings if e not in own]
    if kind == "xlsx":
        return ["*.xlsx"]
    return [*strange, *(f"{glob}{codec}" for glob in strange for codec in packed)]


def head_of(path: str, count: int, contract: Contract | None = None) -> bytes:
    """The first bytes of a file, unpacked; with a contract, as its decoder would have them."""
    blocks, left = [], count
    with opened(path, contract or probe("json")) as stream:
        while left > 0 and (block := stream.read(left)):
            blocks.append(block)
            left -= len(block)
    return b"".join(blocks)


def probe(form: str, **words: object) -> Contract:
    """A contract that says how something is written, and nothing else."""
    plain = {"name": "probe", "format": form, "event_time": "t", "dedup": {"key": ["t"]}}
    return parse_contract(plain | words | {"fields": [{"name": "t", "type": "timestamp"}]}, "probe")

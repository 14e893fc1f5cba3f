"""Rejects as a source: records whose kept bytes are decoded again, under the contract of now.

    file of rejects        row 0  a.csv:7     row 1  a.csv:9, of a record over two lines      row 2  a.csv:12/3 (unpivoted)
    records, numbered      0                  1  2  (cut again)                               3
    decoded, put back      a.csv:7            a.csv:9, a.csv:10                               a.csv:12/3, and no other column

Records are handed to the decoder under numbers of their own, as their places may be in many files; `Again.back` gives
them their places. Of an unpivoted row of which some columns were rejects, only these come back, and of a changed key,
which is two records, the half that was one; of a message that was refused whole, all its records. A record of which
nothing comes back is told, so that it stays a reject.
Not known any more: which occurrence a local time is that comes twice (`on_dst = "in_order"`), and what was cut off of
a record of more than 1 MiB. Such stay rejects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from data_sources.contract import Contract
from data_sources.decode.csv_lines import split_csv
from data_sources.decode.rejects import MAX_RECORD, POISON, Decoded, halves
from data_sources.formats import format_of
from data_sources.formats.json_document import IN_MESSAGE
from data_sources.patterns import first_group
from data_sources.records import Records, messages
from data_sources.splits import JudgedBy, Origin, RejectedSplit

IN_ROW = 10_000
"""Positions an unpivoted row's records may have."""

UTC = pa.timestamp("us", "UTC")

SCHEMA = pa.schema(
    [
        ("cause", pa.string()),
        ("rule", pa.string()),
        ("reason", pa.string()),
        ("_source", pa.string()),
        ("_partition", pa.int32()),
        ("_position", pa.int64()),
        ("raw", pa.binary()),
        ("_ingested_at", UTC),
        ("_commit", pa.int64()),  # the commit that read it, however often it is judged again
        ("_arrival", UTC),  # of a record that has one of its own; null: `_ingested_at` stands for it
        ("_judged", pa.int64()),  # the commit that judged it again last; null: none has
        ("_half", pa.int32()),  # of a change of a key, which is two records: 1 the row before, 2 after; else null
    ]
)
"""Columns of a file of rejects."""

ROWS = 50_000
"""Records decoded together."""


def conform(rows: pa.Table) -> pa.Table:
    """Rejects of any age in today's columns."""
    columns = [
        rows[f.name].cast(f.type) if f.name in rows.column_names else pa.nulls(rows.num_rows, f.type) for f in SCHEMA
    ]
    return pa.table(columns, schema=SCHEMA)


def judged_by(rows: pa.Table) -> np.ndarray:
    """The commit that judged each last."""
    return pc.coalesce(rows["_judged"], rows["_commit"]).to_numpy()


def of_rule(rows: pa.Table, rule: str | None) -> np.ndarray:
    """Mask of those of a rule, RULE or CAUSE/RULE; `poison` is all of that cause; None: all but these, which no contract
    mends and which may break again what they broke."""
    if rule is None or rule == POISON:
        is_poison = pc.equal(rows["cause"], POISON)
        return (is_poison if rule else pc.invert(is_poison)).to_numpy()
    full = pc.binary_join_element_wise(rows["cause"], rows["rule"], "/")
    return pc.or_(pc.equal(rows["rule"], rule), pc.equal(full, rule)).to_numpy()


def taken(rows: pa.Table, split: RejectedSplit) -> np.ndarray:
    """Mask of the rejects that the split judges again."""
    mask = np.isin(judged_by(rows), [by.commit for by in split.judged])
    mask &= pc.is_in(rows["_source"], pa.array([o.source for o in split.origins], pa.string())).to_numpy()
    return mask & of_rule(rows, split.rule)


def is_cut(rows: pa.Table) -> np.ndarray:
    """Mask of those whose bytes are not all kept."""
    return pc.greater_equal(pc.binary_length(rows["raw"]), MAX_RECORD).to_numpy()


class Back(NamedTuple):
    """Of records that were decoded: which are wanted (their places among the decoded, one may come several times), the
    record each was decoded from, the reject that was (a place in the file), and its position in its source."""

    at: np.ndarray
    numbers: np.ndarray
    rejects: np.ndarray
    positions: np.ndarray


@dataclass
class Again:
    """Some rejects of a file, to be decoded together.

    records: numbered from 0; first: of each the reject it came from; base: its position, of an unpivoted feed its row's;
    is_whole: whether all it becomes is wanted; wanted: else which columns or halves, and the rejects they were;
    is_cut_anew: whether the record is another piece of bytes than the reject.
    """

    records: Records
    first: np.ndarray
    base: np.ndarray
    is_whole: np.ndarray
    is_cut_anew: np.ndarray
    wanted: dict[int, dict[int, int]] = field(default_factory=dict)
    unpivots: bool = False

    def back(self, decoded: pa.Table) -> Back:
        """decoded: rows or rejects, with `_position` as decoded and `_half`. Each one's place in its source."""
        positions = decoded["_position"].to_numpy()
        if self.unpivots:
            numbers, parts = np.divmod(positions, IN_ROW)
        else:
            numbers, parts = positions, pc.fill_null(decoded["_half"], 0).to_numpy()
        if not self.unpivots and not self.wanted:
            return Back(np.arange(len(numbers)), numbers, self.first[numbers], self.base[numbers])
        found: list[tuple[int, int, int, int]] = []
        for at, (number, part) in enumerate(zip(numbers.tolist(), parts.tolist(), strict=True)):
            if self.is_whole[number]:
                found.append((at, number, int(self.first[number]), part))
                continue
            wanted = self.wanted[number]
            chosen = wanted if part == 0 else [part] if part in wanted else []
            found += [(at, number, wanted[one], one) for one in chosen]
        at_, numbers, rejects, parts = (np.asarray([f[n] for f in found], np.int64) for n in range(4))
        base = self.base[numbers]
        return Back(at_, numbers, rejects, base * IN_ROW + parts if self.unpivots else base)


def groups(rows: pa.Table, at: np.ndarray, split: RejectedSplit, contract: Contract) -> Iterator[tuple[Again, Decoded]]:
    """The rejects at these places (int64), decoded again, those together that are of one layout."""
    origins = {origin.source: origin for origin in split.origins}
    by_commit = {by.commit: by for by in split.judged}
    sources, judged = rows["_source"].to_pylist(), judged_by(rows)
    layouts: dict[tuple[object, ...], list[int]] = {}
    for i in at.tolist():
        origin, by = origins[sources[i]], by_commit[int(judged[i])]
        own = origin.source if contract.lake.load == "scd2" else None  # whose asides name one source
        layouts.setdefault((origin.header, _constants(origin, contract), by.unpivot, by.document, own), []).append(i)
    for (header, constants, unpivot, document, _), mine in layouts.items():
        by = JudgedBy(commit=0, unpivot=bool(unpivot), document=bool(document))
        for begin in range(0, len(mine), ROWS):
            again = _records(rows, mine[begin : begin + ROWS], by, contract)
            said: Mapping[str, str | None] = dict(constants)  # type: ignore[call-overload]
            yield again, _with_halves(format_of(contract).decode(again.records, header, said))  # type: ignore[arg-type]


def _with_halves(decoded: Decoded) -> Decoded:
    """With `_half` of each row; of a change that is one record under the contract of now, the row after it."""
    half = halves(decoded.rejecting.positions, decoded.rows["_index"].to_numpy())
    return decoded._replace(rows=decoded.rows.append_column("_half", pc.fill_null(half, 2)))


def _constants(origin: Origin, contract: Contract) -> tuple[tuple[str, str | None], ...]:
    """What the file said once for all records, as far as the contract of now asks for it; its name is read anew."""
    fields = {f.name: f for f in contract.fields}
    found = {
        name: text
        for name, text in origin.constants
        if name in fields and (fields[name].is_constant or str(fields[name].source).startswith("$."))
    }
    for name, spec in fields.items():
        if spec.from_name is not None and origin.name is not None:
            found[name] = first_group(origin.name, spec.from_name)
    return tuple(found.items())


def _records(rows: pa.Table, at: list[int], by: JudgedBy, contract: Contract) -> Again:
    """at: places of rejects."""
    some = rows.take(pa.array(at))
    raws, rules = some["raw"].to_pylist(), some["rule"].to_pylist()
    is_poison = of_rule(some, POISON)
    places = list(zip(some["_source"].to_pylist(), some["_partition"].to_pylist(), strict=True))
    arrivals = pc.cast(pc.coalesce(some["_arrival"], some["_ingested_at"]), pa.int64()).to_pylist()
    scale = IN_ROW if by.unpivot else 1
    made = _Made()
    rows_of: dict[tuple[object, ...], int] = {}
    unpivots = contract.unpivot is not None
    noted = _noted_halves(some)
    for n, (i, position) in enumerate(zip(at, some["_position"].to_pylist(), strict=True)):
        base, column = divmod(position, scale)
        part = column if unpivots else noted[n]
        is_message = places[n][1] is not None and contract.document is not None
        if is_message and (rules[n] == "document" or is_poison[n] or not by.document):
            offset = base // IN_MESSAGE if by.document else base
            cut = format_of(contract).messages(messages([raws[n]], [offset], [arrivals[n]]))
            made.add_cut(cut, i, arrivals[n])
        elif contract.format == "csv" and b"\n" in raws[n]:
            cut, _ = split_csv(raws[n] + b"\n", base, contract, True)
            made.add_cut(cut, i, arrivals[n])
        elif not part:
            made.add(raws[n], i, base, arrivals[n])
        elif (known := rows_of.get((*places[n], base))) is not None and part not in made.wanted[known]:
            made.wanted[known][part] = i
        else:
            number = made.add(raws[n], i, base, arrivals[n])
            rows_of[(*places[n], base)] = number
            made.wanted[number] = {part: i}
    return made.again(unpivots)


def _noted_halves(rows: pa.Table) -> list[int | None]:
    """`_half` of each; of files of before that column, which do not say, two at one place are one half each."""
    noted = rows["_half"].to_pylist()
    if rows["_half"].null_count == 0:
        return noted
    places = list(zip(*(rows[name].to_pylist() for name in ("_source", "_partition", "_position")), strict=True))
    there, turn = Counter(places), Counter[object]()
    for n, place in enumerate(places):
        if noted[n] is None and there[place] > 1:
            noted[n] = 1 + turn[place] % 2
            turn[place] += 1
    return noted


class _Made:
    """Records under way, one after the other."""

    def __init__(self) -> None:
        self.raws: list[bytes] = []
        self.first: list[int] = []
        self.base: list[int] = []
        self.arrivals: list[int] = []
        self.anew: list[bool] = []
        self.refused: dict[int, tuple[str, str]] = {}
        self.wanted: dict[int, dict[int, int]] = {}

    def add(self, raw: bytes, reject: int, base: int, arrival: int, anew: bool = False) -> int:
        self.raws.append(raw)
        self.first.append(reject)
        self.base.append(base)
        self.arrivals.append(arrival)
        self.anew.append(anew)
        return len(self.raws) - 1

    def add_cut(self, cut: Records, reject: int, arrival: int) -> None:
        for n, position in enumerate(cut.positions.tolist()):
            number = self.add(cut.raw(n), reject, position, arrival, anew=True)
            if n in cut.refused:
                self.refused[number] = cut.refused[n]

    def again(self, unpivots: bool) -> Again:
        made = messages(self.raws, list(range(len(self.raws))), self.arrivals)
        whole = np.ones(len(self.raws), bool)
        whole[list(self.wanted)] = False
        return Again(
            Records(
                made.data, made.starts, made.ends, made.positions, made.arrivals, made.whole_lines, refused=self.refused
            ),
            np.asarray(self.first, np.int64),
            np.asarray(self.base, np.int64),
            whole,
            np.asarray(self.anew, bool),
            self.wanted,
            unpivots,
        )

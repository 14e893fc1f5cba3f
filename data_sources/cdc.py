"""Change data capture: SQL Server's operation codes and log sequence numbers, as native rows and as Debezium has them.

__$operation   1 delete, 2 insert, 3 before an update, 4 after it; 0, which SQL Server never writes: all rows deleted
an LSN         0x0A3B5C7D8E, or colon groups: 00000027:00000ac0:0002 (8, 8 and 4 hex digits)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from data_sources.contract import Contract

DELETE, INSERT, BEFORE, AFTER = 1, 2, 3, 4

TRUNCATE = 0
"""Debezium's op t: every row that stands before it in the log is deleted. Such a record has a sequence and no key."""

LSN = r"0[xX][0-9A-Fa-f]{1,40}|[0-9A-Fa-f]{1,8}(:[0-9A-Fa-f]{1,8}){1,3}"
"""Regular expression of a whole LSN."""


def checks(contract: Contract) -> dict[str, str]:
    """Rules a CDC feed has without declaring them: {id: SQL condition}, all rejecting."""
    lake = contract.lake
    if lake.load != "cdc":
        return {}
    found = {}
    if lake.operation is not None:
        operation = _quoted(lake.operation)
        known = f"{operation} IN ({DELETE}, {INSERT}, {BEFORE}, {AFTER})"
        # A tombstone has no operation; neither it nor a truncate has a key.
        without_key = f"({_quoted(lake.key[0])} IS NULL AND coalesce({operation}, {TRUNCATE}) = {TRUNCATE})"
        found[f"operation:{lake.operation}"] = f"coalesce({known} OR {without_key}, false)"
    for name in lsn_fields(contract):
        found[f"lsn:{name}"] = f"regexp_full_match({_quoted(name)}, '{LSN}')"
    return found


def lsn_fields(contract: Contract) -> list[str]:
    """Fields of the sequence that hold LSNs: those of text."""
    return [name for name in contract.lake.sequence_by if contract.field(name).type == "string"]


def lsn_sort_key(values: pa.Array) -> pa.Array:
    """LSNs as text that sorts as their numbers do; null stays null. Values must match LSN."""
    groups = pc.split_pattern(pc.replace_substring_regex(pc.utf8_lower(values), "^0x", ""), ":")
    texts = [
        None
        if parts is None
        else "".join(p.zfill(w) for p, w in zip(parts, (8, 8, 4, 4), strict=False)).zfill(40)
        if len(parts) > 1
        else parts[0].zfill(40)
        for parts in groups.to_pylist()
    ]
    return pa.array(texts, pa.string())


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

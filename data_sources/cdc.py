"""Change data capture: SQL Server's operation codes and log sequence numbers, as native rows and as Debezium has them.

__$operation   1 delete, 2 insert, 3 before an update, 4 after it; 0, which SQL Server never writes: all rows deleted
an LSN         0x0A3B5C7D8E, or colon groups: 00000027:00000ac0:0002 (8, 8 and 4 hex digits)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from data_sources.contract import Contract
    from data_sources.contract.fields import FieldSpec

DELETE, INSERT, BEFORE, AFTER = 1, 2, 3, 4

TRUNCATE = 0
"""Debezium's op t: every row that stands before it in the log is deleted. Such a record has a sequence and no key."""

COMMAND_ID, SEQUENCE_VALUE = "__$command_id", "__$seqval"
"""SQL Server orders the changes of one transaction by the first, then by the second: an update that it carries out as
delete and insert may log the insert first. Null in rows from before it had the first, and Debezium does not send it."""

_BESIDE_ROW = frozenset({"source", "before", "op", "transaction", "ts_ms", "ts_us", "ts_ns"})
"""What Debezium's message has beside the row itself (`after`): other than it from message to message."""

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


def place_fields(contract: Contract) -> list[str]:
    """Fields that say where a change stands in the log: the sequence without the operation."""
    return [name for name in contract.lake.sequence_by if name != contract.lake.operation]


def is_beside_row(field: FieldSpec, contract: Contract) -> bool:
    """Whether a field is read from Debezium's message, by paths as `$.ts_ms`, and from no column of its row."""
    if contract.lake.envelope == "none" or contract.document is not None:  # its paths lead from the record, or the file
        return False
    names = field.source if isinstance(field.source, list) else field.wanted
    paths = [name.removeprefix("$.").removeprefix("payload.") for name in names if name.startswith("$.")]
    return bool(names) and len(paths) == len(names) and all(path.split(".")[0] in _BESIDE_ROW for path in paths)


def gains_fields(before: Sequence[str], now: Sequence[str]) -> bool:
    """Whether a sequence is another with fields put between or behind its own, which keep their order."""
    rest = iter(now)
    return all(name in rest for name in before)


def without_place(rows: Mapping[str, pa.Array], contract: Contract) -> np.ndarray:
    """Indices of changes, by their columns, all of whose place is null; none where the contract names no place."""
    names = place_fields(contract) if contract.lake.load == "cdc" else []
    if not names or not all(rows[name].null_count for name in names):
        return np.empty(0, np.int64)
    lacks = np.ones(len(rows[names[0]]), bool)
    for name in names:
        lacks &= rows[name].is_null().to_numpy(zero_copy_only=False)
    if contract.lake.operation is not None:  # a message without operation and key changes nothing, wherever it stands
        says = [
            rows[name].is_valid().to_numpy(zero_copy_only=False)
            for name in (contract.lake.operation, *contract.lake.key)
        ]
        lacks &= np.any(says, axis=0)
    return np.flatnonzero(lacks)


def no_place_reason(contract: Contract) -> str:
    """Why a change without a place is rejected, and what a contract may say instead."""
    names = ", ".join(place_fields(contract))
    return (
        f"no place in the log: lake.sequence_by orders changes by {names}, and the record has none of them; name fields "
        'that it has (of a Debezium message as source = "$.source.lsn", or where its connector writes the place)'
    )


def order_warning(contract: Contract) -> str | None:
    """What is wrong with a sequence that orders SQL Server's changes without `__$command_id`; None where nothing is."""
    lake = contract.lake
    inputs = [contract.field(name).input_name for name in lake.sequence_by] if lake.load == "cdc" else []
    declared = next((f.name for f in contract.fields if f.input_name == COMMAND_ID), None)
    if SEQUENCE_VALUE not in inputs and (declared is None or lake.load != "cdc"):
        return None
    if COMMAND_ID in inputs:
        if SEQUENCE_VALUE not in inputs or inputs.index(COMMAND_ID) < inputs.index(SEQUENCE_VALUE):
            return None
        return (
            f"lake.sequence_by: {declared!r} stands behind {SEQUENCE_VALUE!r}; SQL Server orders the changes of a "
            "transaction by the command first: an update kept as delete and insert may otherwise read as a delete"
        )
    remedy = f"put {declared!r} before it" if declared else f"declare {COMMAND_ID!r} (int64) and put it before it"
    if SEQUENCE_VALUE not in inputs:
        remedy = f"put {declared!r} into it, before what orders the changes of one transaction"
    return (
        f"lake.sequence_by: has no {COMMAND_ID!r}, which says in which order the changes of one SQL Server transaction "
        f"were made: an update kept as delete and insert may otherwise read as a delete; {remedy}"
    )


def lsn_sort_key(values: pa.Array) -> pa.Array:
    """LSNs as text that sorts as their numbers do; null stays null. Values must match LSN."""
    import pyarrow.compute as pc  # here: a contract alone is read without the kernels

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

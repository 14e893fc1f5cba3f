"""Files of lines: counting and reading them from a byte on, as far as the file went when the slice was planned.

A last line without its line end waits, as more of it may come; whether it can only be whole is the format's to say.
In a packed file, which never grows, it is whole.

    ....|start        ....\n ....\n ....      rest: an unfinished line, read on with the next block
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from msgspec.structs import replace as replace_split

from data_sources.contract import Contract
from data_sources.decode.rejects import MAX_RECORD
from data_sources.formats import ended
from data_sources.records import Records, count_line_ends
from data_sources.sources.opening import BLOCK, digest, is_packed, opened
from data_sources.sources.segments import joined
from data_sources.splits import FileEnd, FileSplit, Segment

Cut = Callable[[bytes, int, bool], tuple[Records, int]]
"""(whole lines, number of the first, whether they are the last) to records and how many bytes they take."""

IsWhole = Callable[[bytes], bool]
"""Whether a line without its line end can only be complete."""


def count(split: FileSplit, limit: int, contract: Contract, is_whole: IsWhole, is_new: bool) -> tuple[int, bool]:
    """Lines from `start` on, as far as `limit`; and whether the last one of the file waits.

    Of a packed file that is new, all are read: raises where it is damaged.
    """
    packed = is_packed(split.path, contract)
    lines, tail, left = 0, b"", split.size - split.start
    with opened(split.path, contract, split.start) as stream:
        while (lines < limit or (packed and is_new)) and (block := stream.read(BLOCK if packed else min(BLOCK, left))):
            left -= len(block)
            block = mac(block, split.returns)
            lines += count_line_ends(block)
            last = block.rfind(b"\n") + 1
            tail = (block[last:] if last else tail + block)[: MAX_RECORD + 1]
    if not tail.strip():
        return lines, False
    if packed or is_whole(tail):
        return lines + 1, False
    return lines, left <= 0


def cut(split: FileSplit, contract: Contract, rows: int) -> list[FileSplit]:
    """The split in parts of about so many lines each, where each line is a record; packed files are not cut.

    All but the last end behind a line's end, so that their last line is whole.
    """
    if is_packed(split.path, contract) or split.returns or split.rows <= rows:
        return [split]
    parts, offset, line, taken = [split], split.start, split.line, 0
    with opened(split.path, contract, split.start) as stream:
        while (left := split.size - offset) > 0 and parts[-1].rows > rows:
            block = stream.read(min(BLOCK, left))
            if not block:
                break
            if len(block) < left and block[-1:] != b"\n":
                block += stream.readline(min(MAX_RECORD, left - len(block)))
            offset += len(block)
            count = count_line_ends(block)
            line, taken = line + count, taken + count
            if taken >= rows and block[-1:] == b"\n" and offset < split.size and parts[-1].rows > taken:
                before = parts[-1]
                parts[-1] = replace_split(before, rows=taken, size=offset)
                parts.append(replace_split(before, start=offset, line=line, rows=before.rows - taken, open_line=False))
                taken = 0
    return parts


def read(split: FileSplit, contract: Contract, cut_records: Cut, is_whole: IsWhole) -> Iterator[Records | FileEnd]:
    """Blocks of whole records from byte `start`, at most `rows` records, never beyond `size`; then where it ended."""
    path, left, line, offset = split.path, split.rows, split.line, split.start
    packed = is_packed(path, contract)
    budget = None if packed else split.size - offset
    rest, dropped, open_line, final = b"", 0, split.open_line, False
    with opened(path, contract, offset) as stream:
        while left > 0 and not final:
            data = stream.read(BLOCK if budget is None else min(BLOCK, budget))
            budget = None if budget is None else budget - len(data)
            if budget and data[-1:] != b"\n":  # read on to a line's end, so that nothing is carried over
                more = stream.readline(min(MAX_RECORD, budget))
                data, budget = data + more, budget - len(more)
            final = not data or budget == 0
            data = mac(data, split.returns)
            block = rest + data if rest else data
            if open_line and block:  # the line end that a whole last line had lacked
                skipped = len(block) - len(block.removeprefix(b"\r").removeprefix(b"\n"))
                block, offset, open_line = block[skipped:], offset + skipped, False
            cut = block.rfind(b"\n") + 1
            if final and cut < len(block) and block[cut:].strip() and (packed or is_whole(block[cut:])):
                cut, open_line = len(block), True
            if not cut:
                if len(block) > BLOCK + MAX_RECORD:  # a line beyond all bounds: its head is enough to reject it
                    dropped += len(block) - MAX_RECORD - 1
                    block = block[: MAX_RECORD + 1]
                rest = block
                continue
            whole = block[:cut] if cut < len(block) else block
            records, used = cut_records(whole, line, final)
            if len(records) > left:
                used, open_line = int(records.starts[left]), False
                records = _first(records, left)
            if len(records):
                yield records
            left -= len(records)
            offset += used + (dropped if used else 0)
            ended_lines = records.line_ends if used == len(whole) else count_line_ends(whole[:used])
            line += ended_lines + (1 if open_line and used == cut else 0)
            rest, dropped = block[used:], 0 if used else dropped
        if packed and not final and not rest:  # the slice ended here; so may the file
            final = not stream.read(1)
    done = packed and final and not rest.strip() and left >= 0
    if not packed:
        done = offset >= split.size or (final and not dropped and not rest.strip())
    first = split.start if split.segments else 0  # a header, and what stands above it, are read too
    read = () if packed else joined(path, (*split.segments, Segment(first, offset, digest(path, first, offset))))
    yield ended(split, offset, line, segments=read, done=done, open_line=open_line)


def mac(block: bytes, returns: bool) -> bytes:
    """Lone carriage returns as line ends, where a CSV file has no other."""
    return block.replace(b"\r", b"\n") if returns else block


def _first(records: Records, count: int) -> Records:
    return replace(
        records, starts=records.starts[:count], ends=records.ends[:count], positions=records.positions[:count]
    )

"""VEE: validation, estimation and editing of interval readings, as pure functions over Arrow.

    intervals_of(table, ...)  -> Intervals: every interval of a series between its first and its last, gaps included
    failed(intervals, checks) -> per check which intervals it finds fault with
    estimated(intervals, ...) -> a value for those without one that can be trusted
    validated(intervals, ...) -> all of it as Arrow (run.SCHEMA): value, status, rules, method, what was read

    read     75    -    -    -    -   100              a gap of four
    value    75   80   85   90   95   100              linear, as the gap is short
             valid     estimated      valid

An estimate is made of what was read and found good, never of an estimate. What was read is kept beside it.
"""

from transforms.vee.checks import Check, failed
from transforms.vee.estimate import Estimation, estimated
from transforms.vee.intervals import Intervals, intervals_of
from transforms.vee.run import SCHEMA, validated

VERSION = "2"
"""Of checks and estimates: another one may give other values."""

__all__ = ["SCHEMA", "VERSION", "Check", "Estimation", "Intervals", "estimated", "failed", "intervals_of", "validated"]

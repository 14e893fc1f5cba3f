"""The subject of a feed, the field that its rows are a series of: a meter, a sensor.

It is `now.sensor`; else the field that stands with the event time in `lake.cluster_by`, or alone with it in the key of
dedup. Feeds of changes and master data have none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data_sources.contract import Contract


def subject(contract: Contract) -> str | None:
    """The field that a feed's rows are a series of; None where there is no such field."""
    if contract.now is not None:
        return contract.now.sensor
    if contract.lake.load != "append":
        return None
    for names, most in ((contract.lake.cluster_by, 4), (contract.dedup.key, 2)):
        if contract.event_time in names and 1 < len(names) <= most:
            return next(name for name in names if name != contract.event_time)
    return None

"""Alerts: rules over the tables of each published version set, told once to people and programs (docs/alerts.md).

    version set ─► matching ─► lifecycle ─► grouping ─┬─► LAKE/alerts/alerts.db ─► couriers ─► sinks
                   rule's SQL   raise, clear           │   alerts, outbox           one a sink   log, file, webhook,
                                remind, escalate       └─ one transaction                        Kafka, e-mail

declared.py   LAKE/alerts.toml                       store.py      what is open, what is to be sent: SQLite
matching.py   which keys meet a rule                 couriers.py   sends what waits, again and again
lifecycle.py  what becomes of an alert (pure)        sinks/        one file a kind
grouping.py   events to messages, a budget (pure)    watch.py      after each publish; beside.py: a process of its own
"""

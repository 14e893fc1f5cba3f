"""`beam-grid serve`: the lake's tables, state and news over HTTP, for programs and for the dashboard.

request ─► host, key, rate ─► route ─► pool ─► worker process: guard ─► DuckDB over one version set ─► Arrow
                               │                                                                        │
                               └─► events, status, metrics                     JSON, CSV, Arrow ◄────────┘

serve.py     what may be asked for at the start, and uvicorn            app.py       routes put together
guard.py     what a statement reads, by DuckDB's own parser             engine.py    a version set's tables in DuckDB
pool.py      processes with an engine each, which can be killed         worker.py    what runs in one
keys.py      API keys at rest                                           access.py    who asks, what they may, how often
"""

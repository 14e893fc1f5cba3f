"""Reflections: answers kept ready, so that a question over weeks of rows reads a few thousand partial aggregates.

    LAKE/reflections.toml ─► declared.py ─► keep.py ─► tables reflection.NAME, in the same version set as their source
                                                            │
    SELECT ─► asked.py ─► match.py: which of them can answer ┘─► plan.py: the one that reads least, and why not the others

A reflection answers only where it holds exactly the version of its table that the reader's set names; so an answer with
it is the answer without it. docs/reflections.md tells it to users. Kept free of heavy imports: a query pays for them.
"""

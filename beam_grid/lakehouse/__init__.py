"""The second stage: Delta tables made from what landed.

    landing zone ─► batch ─┬► silver     rows, append or MERGE
                           ├► gold       windows, merged from tiles, recomputed where rows were superseded
                           ├► bronze     rejects, late rows, conflicts
                           └► versions   the set of table versions that belong together ─► query

The tables are a function of the commits. Each step is one Delta transaction that carries the number of the last
commit in it, so a step that was done is never done again, wherever a run was cut off.
"""

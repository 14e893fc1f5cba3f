"""`beam-grid optimize-window`: which allowed lateness a feed needs, measured on what landed, and proved by judging it anew.

landing zone ─► arrivals.py: each record, in the order of arrival, and how far behind it was
                  ├► propose.py: per allowed lateness the share lost and the state kept (state_size.py)
                  └► replay.py: judged anew, by the function that lands, with the one proposed
"""

from beam_grid.optimize.propose import Answer, optimize

__all__ = ["Answer", "optimize"]

"""How long tests wait for what must come."""

PATIENCE_S = 300.0
"""Far longer than anything takes on any machine: a test that waits so long has failed, not the machine."""

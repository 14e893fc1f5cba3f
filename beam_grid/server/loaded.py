"""What each worker needs, loaded once by the process that all of them are forked from."""

import beam_grid.lakehouse.query
import beam_grid.lakehouse.scan
import beam_grid.server.worker  # noqa: F401

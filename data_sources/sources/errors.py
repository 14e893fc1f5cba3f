"""What readers raise for a source."""

from data_sources.errors import UserError


class SourceError(UserError, ValueError):
    """A source, or a file of it, that cannot be read: says what was seen and what to try."""

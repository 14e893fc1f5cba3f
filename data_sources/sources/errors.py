"""What readers raise for a source."""


class SourceError(ValueError):
    """A source, or a file of it, that cannot be read: says what was seen and what to try."""

"""What readers raise for a source."""

from data_sources.errors import UserError


class SourceError(UserError, ValueError):
    """A source, or a file of it, that cannot be read: says what was seen and what to try."""


class SourceAway(SourceError):
    """A source that does not answer now; it may later, and nothing about the command is wrong."""


class SourceRefused(SourceError):
    """A source that answers, and refuses: a topic that it has not, or that is another one now."""


class SourceDenied(SourceRefused):
    """A source that does not know who asks, or does not let them: a password, a certificate, a right."""

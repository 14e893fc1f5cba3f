"""Features: from the readings of many series to a row per reading of what a model is told about it.

    feature_rows(batches, definition) -> the rows, a group of whole series at a time

A row knows the readings of its own series up to its event time and nothing later, whatever is asked of it.
"""

from transforms.features.rows import Definition, Since, feature_rows, feature_schema

__all__ = ["Definition", "Since", "feature_rows", "feature_schema"]

"""Streams of made-up rows from a declarative spec: what NOTES.md in this folder tells."""

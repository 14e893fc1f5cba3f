"""The base of every DoFn here: what Beam asks of a step's methods is found out once a class, not at every look.

For each pipeline Beam inspects the signature of every method of every DoFn several times over, 0.2 s a slice.
`get_function_arguments` in apache_beam/transforms/core.py asks an object for `_inspect_<method>` first; this answers
from a cache. Delete it when Beam caches by itself.
"""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

import apache_beam as beam
from apache_beam.transforms.core import get_function_args_defaults


class Step(beam.DoFn):
    """A DoFn whose methods' arguments Beam gets from a cache."""

    def __getattr__(self, name: str) -> Callable[[], Any]:
        method = name.removeprefix("_inspect_")
        if method == name or not hasattr(type(self), method):
            raise AttributeError(name)
        kind: Any = type(self)
        return functools.partial(_arguments, kind, method)


@functools.cache
def _arguments(step: Any, method: str) -> tuple[list[str], list[Any]]:
    """Names and defaults of a method's arguments, without self."""
    function = getattr(step, method)
    bound = types.MethodType(function, step) if isinstance(function, types.FunctionType) else function
    return get_function_args_defaults(bound)

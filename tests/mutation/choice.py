"""What mutmut changes.

Decorated functions as well: properties, context managers, and functions inside others (hooks of
`before_request`). mutmut leaves all of them out, since a decorator may register what it is given;
these do not, or run anew whenever the function around them does.

Not what is said to people: a text with a space in it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import libcst as cst
from mutmut.mutation import file_mutation
from mutmut.mutation.file_mutation import MutationVisitor, OuterFunctionProvider

HARMLESS = {"property", "contextmanager"}


@contextmanager
def our_choice() -> Iterator[None]:
    """Make mutmut choose so, within the block."""
    skip = MutationVisitor._skip_node_and_children
    arrange = file_mutation.function_trampoline_arrangement

    def skip_fewer(visitor: MutationVisitor, node: cst.CSTNode) -> bool:
        if isinstance(node, cst.FunctionDef) and (
            _is_harmless(node) or visitor.get_metadata(OuterFunctionProvider, node) is not node
        ):
            return False
        if isinstance(node, cst.SimpleString) and " " in node.value and "b" not in node.prefix:
            return True
        skipped: bool = skip(visitor, node)
        return skipped

    def arrange_bare(function: cst.FunctionDef, *args: Any, **kwargs: Any) -> Any:
        empty, functions, assignments, names = arrange(function, *args, **kwargs)
        if _is_harmless(function):  # the first is decorated, and calls the bare ones
            functions = [functions[0], *(_bare(copy) for copy in functions[1:])]
        return empty, functions, assignments, names

    with (
        patch.object(MutationVisitor, "_skip_node_and_children", skip_fewer),
        patch.object(file_mutation, "function_trampoline_arrangement", arrange_bare),
    ):
        yield


def _is_harmless(function: cst.FunctionDef) -> bool:
    decorators: Sequence[cst.Decorator] = function.decorators
    return bool(decorators) and all(
        isinstance(one.decorator, cst.Name) and one.decorator.value in HARMLESS
        for one in decorators
    )


def _bare(function: Any) -> Any:
    return function.with_changes(decorators=[])

"""Find the operators that delegates run, in an engine's list of operators and of the delegates that replace some."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple


class ListedOperator(NamedTuple):
    """An operator or a delegate, with the numbers of the tensors that it reads and writes."""

    kind: str
    inputs: Sequence[int]
    outputs: Sequence[int]


class RunOperator(NamedTuple):
    """An operator that runs in every inference: the first tensor that it reads and the last that it writes."""

    kind: str
    source: int
    target: int
    is_delegated: bool


def list_run_operators(
    listed: Sequence[ListedOperator], delegate_kind: str, graph_inputs: Collection[int]
) -> list[RunOperator]:
    """Return the operators of the file that run in every inference, in their order. Others prepare constants.

    Args:
        listed: the operators of the file, and one of `delegate_kind` for each part that a delegate runs. An optional
            tensor that is not used has a negative number.
        delegate_kind: the type of such a part.
        graph_inputs: the tensors that the model takes.
    """
    operators = [operator for operator in listed if operator.kind != delegate_kind]
    delegated = find_delegated(operators, [operator for operator in listed if operator.kind == delegate_kind])
    computed = find_computed(operators, graph_inputs)
    run = []
    for index, operator in enumerate(operators):
        tensors = [int(tensor) for tensor in (*operator.inputs, *operator.outputs) if tensor in computed]
        if tensors:
            run.append(RunOperator(operator.kind, tensors[0], tensors[-1], index in delegated))
    return run


def find_computed(operators: Sequence[ListedOperator], graph_inputs: Collection[int]) -> set[int]:
    """Return the tensors that depend on an input of the graph. All others are constants.

    The operators are in the order in which they run.
    """
    computed = set(graph_inputs)
    for operator in operators:
        if not operator.inputs or computed.intersection(operator.inputs):
            computed.update(operator.outputs)
    return computed


def find_delegated(operators: Sequence[ListedOperator], delegates: Sequence[ListedOperator]) -> set[int]:
    """Return the indices of the operators that delegates run.

    A delegate stands for all operators between its inputs and its outputs.
    """
    producers = {tensor: index for index, operator in enumerate(operators) for tensor in operator.outputs}
    delegated: set[int] = set()
    for delegate in delegates:
        inputs = set(delegate.inputs)
        pending = [tensor for tensor in delegate.outputs if tensor not in inputs]
        while pending:
            index = producers.get(pending.pop())
            if index is not None and index not in delegated:
                delegated.add(index)
                pending += [tensor for tensor in operators[index].inputs if tensor not in inputs]
    return delegated

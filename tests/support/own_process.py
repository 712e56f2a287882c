"""Run a function of a test in a process of its own, because some engines end their process on some networks."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import pytest

# Imported once, by the process from which all others are forked: what exports import in each runtime takes 4 s.
PRELOADED = [
    "torch._dynamo",
    "torch.export._trace",
    "edgeproof.models.model_files",
    "edgeproof.models.qat",
    "onnxscript",
    "onnxruntime.quantization",
    "nncf.quantization",
    "litert_torch",
    "ai_edge_quantizer.quantizer",
]


def call_in_own_process(function: Callable[..., object], *arguments: Any) -> None:
    """Call a function of a module with arguments that can be pickled.

    Fails the test with the traceback of an exception, or with the signal that ended the process.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_call_and_send, args=(sender, function, arguments))
    process.start()
    sender.close()
    try:
        failure = receiver.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        failure = f"the process ended with {signal.Signals(-code).name if code < 0 else code}"
    process.join()
    if failure:
        pytest.fail(failure, pytrace=False)


def _call_and_send(sender: Connection, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    try:
        function(*arguments)
    except BaseException:
        sender.send(traceback.format_exc())
    else:
        sender.send("")

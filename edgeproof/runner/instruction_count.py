"""A stretch of inferences that an instruction counter can tell from everything around it.

    valgrind --tool=callgrind --toggle-collect=ffi_call python runner.pyz --count JOB_DIR 10

Python calls a C function through libffi (ffi_call), which calls back into Python, where the inferences run: callgrind
counts inside that call alone, not the interpreter's start, whose instructions differ from process to process.
"""

from __future__ import annotations

import ctypes
import gc
import json
from pathlib import Path

import numpy as np

from edgeproof.core import plugins

FLAG = "--count"
TOGGLE = "ffi_call"
WARM_UP_CALLS = 3


def count(job_dir: Path, inferences: int) -> None:
    """Load the job's artifact, warm up, and run the engine `inferences` times inside one foreign call."""
    job = json.loads((job_dir / "job.json").read_text(encoding="utf-8"))
    session = plugins.load("runtimes", job["runtime"]).Session(job_dir / job["artifact"], threads=job["threads"])
    inputs = np.load(job_dir / job["samples"], mmap_mode="r", allow_pickle=False)
    x = np.ascontiguousarray(inputs[:1])
    for _ in range(WARM_UP_CALLS):
        session(x)

    def body(_key: int, _element: int) -> int:
        for _ in range(inferences):
            session.invoke()
        return 0

    comparison = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    element, length = (ctypes.c_int * 1)(0), ctypes.c_size_t(1)
    gc.collect()
    gc.disable()
    ctypes.CDLL(None).lfind(element, element, ctypes.byref(length), ctypes.c_size_t(4), comparison(body))

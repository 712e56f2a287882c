"""Run inferences inside one foreign call, which an instruction counter can tell from everything around it.

    valgrind --tool=callgrind --toggle-collect=ffi_call python runner.pyz --count JOB_DIR 10

Python calls a C function through libffi (ffi_call). The function calls back into Python, which runs the inferences.
Callgrind counts inside that call only, and not the interpreter's start, whose instructions differ between processes.
"""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

from edgeproof.core import job as core_job
from edgeproof.core import plugins

FLAG = "--count"
WARM_UP_CALLS = 3


def count(job_dir: Path, inferences: int) -> None:
    """Load the job's artifact, warm up, and run the engine `inferences` times inside one foreign call."""
    from edgeproof.runner.samples import load_row, open_samples  # here, because it needs numpy

    job = core_job.read(job_dir)
    session = plugins.load("runtimes", job.runtime).Session(job_dir / job.artifact, threads=job.threads)
    sample = load_row(open_samples(job_dir, job.samples), 0)
    for _ in range(WARM_UP_CALLS):
        session(*sample)

    def run_inferences(_key: int, _element: int) -> int:
        for _ in range(inferences):
            session.invoke()
        return 0

    comparison = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    element, length = (ctypes.c_int * 1)(0), ctypes.c_size_t(1)
    gc.collect()
    gc.disable()
    # lfind calls its comparison function once for an array of one element.
    ctypes.CDLL(None).lfind(element, element, ctypes.byref(length), ctypes.c_size_t(4), comparison(run_inferences))

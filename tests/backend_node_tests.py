"""Compare every Session that takes .onnx files with plain use of its engine, over ONNX's backend tests of operators.

    python -m tests.backend_node_tests [RUNTIME...]

The tests run in child processes, so that a crash of an engine ends one chunk only. The tests of such a chunk are run
again one by one.
"""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys

from tests.support import backend_tests

CHUNK = 100
TIMEOUT_S = 1200


def main() -> int:
    """Run all tests, print a count of each result and every difference, and return 1 if there is a difference."""
    if sys.argv[1:2] == ["--chunk"]:
        _run_chunk(sys.argv[2], sys.argv[3:])
        return 0
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    names = sorted(backend_tests.load_tests())
    is_different = False
    for runtime in sys.argv[1:] or list(backend_tests.PLAIN):
        results = {}
        for start in range(0, len(names), CHUNK):
            results |= _run_in_child(runtime, names[start : start + CHUNK])
            print(f"{runtime}: {len(results)} of {len(names)} tests", file=sys.stderr, flush=True)
        is_different |= _print_results(runtime, results)
    return int(is_different)


def _run_chunk(runtime: str, names: list[str]) -> None:
    for name in names:
        print(json.dumps([name, backend_tests.compare(name, runtime)]), flush=True)


def _run_in_child(runtime: str, names: list[str]) -> dict[str, list[str]]:
    argv = [sys.executable, "-m", "tests.backend_node_tests", "--chunk", runtime, *names]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        output, ending = done.stdout, f"exit code {done.returncode}"
    except subprocess.TimeoutExpired as error:
        output, ending = (error.stdout or b"").decode(), f"no end after {TIMEOUT_S} s"
    results: dict[str, list[str]] = dict(json.loads(line) for line in output.splitlines() if line.startswith("["))
    missing = [name for name in names if name not in results]
    if len(names) == 1 and missing:
        return {names[0]: [f"crash: {ending}"]}
    for name in missing[:1]:
        results |= _run_in_child(runtime, [name])
    return results | (_run_in_child(runtime, missing[1:]) if missing[1:] else {})


def _print_results(runtime: str, results: dict[str, list[str]]) -> bool:
    """Print counts and differences. Returns True if there is a difference that plain use of the engine lacks."""
    harmless = (backend_tests.EQUAL, backend_tests.BOTH_FAIL, backend_tests.SKIPPED, backend_tests.RANDOM)
    counts: collections.Counter[str] = collections.Counter()
    different = []
    for name, outcomes in results.items():
        for number, outcome in enumerate(outcomes):
            kind = outcome if outcome in harmless or outcome.startswith("output of") else outcome.partition(":")[0]
            counts[kind] += 1
            if outcome not in harmless and not outcome.startswith("output of"):
                different.append(f"  {name} output {number}: {outcome}")
    print(f"{runtime}: {len(results)} tests, {sum(counts.values())} outputs")
    for kind, count in counts.most_common():
        print(f"  {count:5} {kind}")
    print("\n".join(different))
    return bool(different)


if __name__ == "__main__":
    sys.exit(main())

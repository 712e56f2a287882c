"""Check accuracy logs, complete or truncated, and accuracy.txt with the sha256 of the complete log."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgeproof.submission import logs
from edgeproof.submission.checks.content import hash_text
from edgeproof.submission.checks.measurements import Origin, get_file_hash
from edgeproof.submission.checks.tree import Parts, Tree
from edgeproof.submission.inference import CUT_MARK, VIEWABLE_BYTES
from edgeproof.submission.logs import UnreadableFile, quote
from edgeproof.submission.rules import MAX_ACCURACY_LOG_BYTES
from edgeproof.submission.selection import ACCURACY_LOG

SCORE = re.compile(r"accuracy=([0-9]{1,3}\.[0-9]{1,9})%, good=([0-9]{1,12}), total=([0-9]{1,12})")
HASH = re.compile(r"hash=([0-9a-f]{64})")
RESPONSE = re.compile(r'\{ "seq_id" : \d+, "qsl_idx" : \d+, "data" : "[0-9A-F]*"[^{}]{0,80}\},?', re.ASCII)
# Percentages are printed with three decimals, so rounding changes them by at most 0.0005.
PERCENT_TOLERANCE = 0.000501


def check_responses(
    tree: Tree, directory: Parts, origin: Origin | None, *, has_score: bool, total: float | None
) -> None:
    """Check the accuracy log and accuracy.txt in a directory.

    `origin` is the run's entry in measurements.json, `has_score` is True if accuracy.txt must contain the accuracy,
    `total` is the number of samples if the run's detail log shows it.
    """
    accuracy_text, log = tree.read_text((*directory, "accuracy.txt")), tree.read_text((*directory, ACCURACY_LOG))
    stated_hash = None
    if accuracy_text is not None:
        stated_hash, problems = _check_accuracy_text(accuracy_text, has_score, total)
        tree.add((*directory, "accuracy.txt"), problems)
        record_hash = get_file_hash(origin, ACCURACY_LOG)
        if stated_hash is not None and stated_hash != record_hash:
            problem = f"hash is {stated_hash}; expected {quote(record_hash)}, that of the run in measurements.json"
            tree.add((*directory, "accuracy.txt"), [problem])
    if log is not None:
        tree.add((*directory, ACCURACY_LOG), _check_log(log, stated_hash, total))


def _check_accuracy_text(text: str, has_score: bool, total: float | None) -> tuple[str | None, list[str]]:
    """Return the sha256 that accuracy.txt states, and its problems."""
    lines = [line for line in text.split("\n") if line]
    problems = []
    hashes = [match[1] for line in lines if (match := HASH.fullmatch(line))]
    if len(hashes) != 1:
        problems.append(f"has {len(hashes)} lines 'hash=<sha256>'; expected one, of the complete accuracy log")
    scores = [match for line in lines if (match := SCORE.fullmatch(line))]
    if len(scores) != (1 if has_score else 0):
        one = "one line 'accuracy=<percent>%, good=<count>, total=<count>'"
        problems.append(f"has {len(scores)} lines with an accuracy; expected {one if has_score else 'none'}")
    for score in scores:
        percent, good, count = float(score[1]), int(score[2]), int(score[3])
        if count == 0 or good > count or abs(percent - 100 * good / count) > PERCENT_TOLERANCE:
            problems.append(f"accuracy is {percent}%, {good} of {count}; expected the percentage of the counts")
        if total is not None and count != total:
            problems.append(f"total is {count}; expected {total:g}, the number of samples of the accuracy run")
    if len(lines) > len(hashes) + len(scores):
        problems.append("has other lines; expected only the accuracy and the hash")
    return (hashes[0] if len(hashes) == 1 else None), problems


def _check_log(log: str, stated_hash: str | None, total: float | None) -> Iterator[str]:
    size_bytes = len(log.encode())
    if size_bytes > MAX_ACCURACY_LOG_BYTES:
        yield f"has {size_bytes} bytes; expected at most {MAX_ACCURACY_LOG_BYTES}, with the middle cut out"
    if CUT_MARK in log:
        yield from _check_truncated_log(log, stated_hash)
        return
    try:
        answered = {sample for sample, _ in logs.parse_responses(log)}
    except UnreadableFile as error:
        yield f"{error}; expected the complete accuracy log, or one cut by '...'"
        return
    if stated_hash is not None and stated_hash != hash_text(log):
        yield f"has the sha256 {hash_text(log)}; expected {stated_hash} of accuracy.txt"
    if total is not None and answered != set(range(int(min(total, MAX_ACCURACY_LOG_BYTES)))):
        yield f"has responses to {len(answered)} samples; expected {total:g}"


def _check_truncated_log(log: str, stated_hash: str | None) -> Iterator[str]:
    """Check that complete lines of LoadGen surround the cut, and that accuracy.txt has the complete log's sha256."""
    begin, _, end = log.partition(CUT_MARK)
    if (len(begin), len(end)) != (VIEWABLE_BYTES, VIEWABLE_BYTES):
        yield f"has {len(begin)} and {len(end)} characters around its cut; expected {VIEWABLE_BYTES} each"
    lines = [*begin.split("\n")[1:-1], *end.removesuffix("\n]\n").split("\n")[1:]]
    invalid = [line for line in lines if not RESPONSE.fullmatch(line)]
    if invalid or not begin.startswith("[\n") or not end.endswith("\n]\n"):
        example = f": {quote(invalid[0])}" if invalid else ""
        yield f"is not an accuracy log around its cut{example}; expected LoadGen's lines"
    if stated_hash is None:
        yield "is truncated, and accuracy.txt has no hash of the complete log; expected 'hash=<sha256>'"
    elif stated_hash == hash_text(log):
        yield "is truncated, and accuracy.txt has the hash of the truncated log; expected that of the complete log"

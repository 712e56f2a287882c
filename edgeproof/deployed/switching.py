"""Change the version that runs on this board. Every function holds the board's lock while it works.

A version becomes current only after its files and signature were verified here and its trial succeeded. Until then
nothing that runs is touched, so a process that is killed at any moment leaves the version that ran before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from edgeproof.deployed import layout, trial
from edgeproof.deployed.layout import Version
from edgeproof.deployed.trial import Figures, TrialSettings


@dataclass(frozen=True)
class Change:
    """The result of a change.

    Attributes:
        outcome: 'switched', 'unchanged' (the version ran already), 'intact' (an inspection without problems),
            'missing' (the bundle has not arrived, or not intact: a loss of power can empty its files) or 'refused'.
        reasons: why it was refused, or what is not intact.
        figures: the figures of the measurement, if there was one.
    """

    outcome: str
    reasons: Sequence[str] = ()
    figures: Figures | None = None


def activate(sha256: str, label: str, signer: str, at: str, settings: TrialSettings) -> Change:
    """Verify and try the bundle whose manifest has this sha256, and make it current. Remove all older versions."""
    current = layout.read_current()
    if current is not None and current.sha256 == sha256 and not layout.find_problems(current, signer):
        if (current.label, current.signer) != (label, signer):
            layout.switch_to(replace(current, label=label, signer=signer))
        layout.prune()
        return Change("unchanged")
    protected = {current.name, current.previous} if current is not None else set()
    candidate = _find_intact(sha256, signer, current)
    if candidate is None:
        candidate = layout.adopt_incoming(sha256)
        if candidate is None:
            return Change("missing")
        if problems := layout.find_problems(candidate, signer):
            layout.remove(candidate)
            return Change("missing", problems)
    problems, figures = trial.run_trial(layout.locate_bundle(candidate), signer, settings)
    if problems:
        if candidate.name not in protected:
            layout.remove(candidate)
        return Change("refused", problems, figures)
    previous = _choose_previous(current, sha256)
    layout.switch_to(replace(candidate, label=label, signer=signer, since=at, origin="deploy", previous=previous))
    layout.prune()
    return Change("switched", figures=figures)


def roll_back(expected: str, at: str, settings: TrialSettings) -> Change:
    """Verify and check the version before, and make it current.

    The version that ran stays on the board until the next deployment. `expected` is the sha256 of the version that the
    caller wants to leave.
    """
    current = layout.read_current()
    if current is None:
        return Change("refused", ["nothing is deployed here"])
    if current.sha256 != expected:
        return Change("refused", [f"{current.label} runs here now: another host has changed it"])
    previous = layout.read_previous(current)
    if previous is None:
        return Change("refused", ["there is no version before"])
    problems = layout.find_problems(previous, previous.signer)
    if previous.signer is None:
        problems = [*problems, "nothing says who signed it"]
    if not problems and previous.signer is not None:
        problems, _ = trial.run_trial(
            layout.locate_bundle(previous), previous.signer, replace(settings, latency_ms=None, memory_mb=None)
        )
    if problems:
        return Change("refused", [f"{previous.label}: {problem}" for problem in problems])
    layout.switch_to(replace(previous, since=at, origin="rollback", previous=None))
    return Change("switched")


def inspect(settings: TrialSettings) -> Change:
    """Verify, check and measure the version that runs. Nothing is changed."""
    current = layout.read_current()
    if current is None:
        return Change("refused", ["nothing is deployed here"])
    problems, figures = layout.find_problems(current, current.signer), None
    if not problems and current.signer is None:
        problems = ["nothing says who signed it"]
    if not problems and current.signer is not None:
        problems, figures = trial.run_trial(layout.locate_bundle(current), current.signer, settings)
    return Change("refused" if problems else "intact", problems, figures)


def _find_intact(sha256: str, signer: str, current: Version | None) -> Version | None:
    """Return a version with this manifest that is on the board already, intact and not current."""
    return next(
        (
            version
            for version in layout.list_versions()
            if version.sha256 == sha256 and version != current and not layout.find_problems(version, signer)
        ),
        None,
    )


def _choose_previous(current: Version | None, sha256: str) -> str | None:
    """Return the version to go back to: the current one, or the one before if the current one is only repaired."""
    if current is None:
        return None
    return current.previous if current.sha256 == sha256 else current.name

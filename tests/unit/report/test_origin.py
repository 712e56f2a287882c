"""The words for what a model was made from."""

from __future__ import annotations

import pytest

from edgeproof.report.origin import describe_origin, describe_role


@pytest.mark.parametrize(
    ("parent", "teachers", "text"),
    [
        (None, None, ""),
        ("student", None, "student"),
        (None, "teacher", "taught by teacher"),
        ("student", "teacher", "student, taught by teacher"),
        ("student", "one + two", "student, taught by one + two"),
    ],
)
def test_parent_and_teachers_are_told_apart(parent: str | None, teachers: str | None, text: str) -> None:
    assert describe_origin(parent, teachers) == text


@pytest.mark.parametrize(
    ("role", "words"), [("teacher", "taught by"), ("teacher_2", "taught by"), ("parent", "parent"), ("data", "data")]
)
def test_a_teacher_in_a_lineage_is_announced_as_one(role: str, words: str) -> None:
    assert describe_role(role) == words

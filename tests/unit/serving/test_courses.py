"""What is remembered of a deployment, and for how long."""

from __future__ import annotations

from undercroft.serving.courses import Course, carried_on

MADE = "2026-11-21T12:00:00.000Z"


def test_a_course_goes_on_with_its_deployment() -> None:
    """Failures, back-off and a halved context hold while it is the same and asks for the same."""
    course = Course(failures=3, shrunk_context_tokens=64, shrunk_from_tokens=128, created_at=MADE)
    assert carried_on(course, MADE, 128) is course


def test_one_that_was_made_again_begins_anew() -> None:
    """Whatever happened to the one before it under its name."""
    course = Course(failures=3, shrunk_context_tokens=64, shrunk_from_tokens=128, created_at=MADE)
    assert carried_on(course, "2026-11-21T12:00:00.001Z", 128) is None


def test_another_wish_ends_the_halving_and_nothing_else() -> None:
    """Somebody asks for another context: that one is tried."""
    course = Course(failures=3, shrunk_context_tokens=64, shrunk_from_tokens=128, created_at=MADE)
    kept = carried_on(course, MADE, 96)
    assert kept == Course(failures=3, created_at=MADE)
    assert course.shrunk_context_tokens == 64, "what was given stays"

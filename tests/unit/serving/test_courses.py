"""What is remembered of a deployment, and for how long."""

from __future__ import annotations

from undercroft.serving.courses import Course, as_shrunk, carried_on, carry_on, shrunk_note
from undercroft.serving.deployments import Deployment, DeploymentSettings

MADE = "2026-11-21T12:00:00.000Z"


def deployment(name: str, created_at: str = MADE) -> Deployment:
    """One that asks for 128 tokens."""
    settings = DeploymentSettings.model_validate({"context_tokens": 128, "slots": 2})
    return Deployment(name, "llama.cpp", "tiny", settings, 1, True, created_at)


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


def test_of_all_that_are_wanted_those_that_are_others_begin_anew() -> None:
    """What is not wanted now is kept: a stopped engine may still have to be buried."""
    courses = {name: Course(failures=1, created_at=MADE) for name in ("same", "again", "gone")}
    wanted = [deployment("same"), deployment("again", "2026-11-21T13:00:00.000Z"), deployment("new")]
    assert carry_on(courses, wanted) == {"same": courses["same"], "gone": courses["gone"]}
    assert set(courses) == {"same", "again", "gone"}


def test_only_the_context_is_halved() -> None:
    """Everything else that a deployment asks for stays, and one that had memory stays as it is."""
    asked = deployment("bot")
    assert as_shrunk(asked, Course()) is asked
    assert shrunk_note(Course()) == ""
    assert shrunk_note(Course(shrunk_context_tokens=1024)).startswith("it runs with a context of 1,024 tokens only")
    settings = as_shrunk(asked, Course(shrunk_context_tokens=64)).settings
    assert (settings.context_tokens, settings.slots) == (64, 2)

"""What control remembers of each deployment while it lives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from undercroft.serving.deployments import Deployment


@dataclass(slots=True)
class Course:
    """How it goes with one deployment; lives as long as control does.

    Args:
        failures: In a row.
        not_before: Monotonic seconds; back-off.
        note: Why the last replica failed, or why none can be started; empty where all is well.
        is_loaded: Whether replicas are wanted now; false where it was idle for long or waits for a first request.
        last_used: Unix seconds of the last request.
        restarts: Replicas started in place of failed ones.
        load_seconds: Of the last load; None is not known.
        obstacle: Why no replica can even be tried, as the deployment is described now; empty where one can.
        last_demand: Unix seconds of the last request, 0 before the first; ``last_used`` begins with control instead.
        shrunk_context_tokens: Context that it is run with since memory ran out; 0 where it is run as it is wanted.
        load: When it was last to be loaded; one that changes to ``always`` is loaded at once.
        created_at: When the deployment was made; empty where it is not known.
        shrunk_from_tokens: Context that was asked for when memory ran out; 0 is the model's own.
        made_room: Deployments that gave up memory for it since it was last well, each of them once: that it fails
            again is not their memory.
    """

    failures: int = 0
    not_before: float = 0.0
    note: str = ""
    is_loaded: bool = False
    last_used: float = 0.0
    restarts: int = 0
    load_seconds: float | None = None
    obstacle: str = ""
    last_demand: float = 0.0
    shrunk_context_tokens: int = 0
    load: str = ""
    created_at: str = ""
    shrunk_from_tokens: int = 0
    made_room: frozenset[str] = frozenset()


def carried_on(course: Course, created_at: str, context_tokens: int) -> Course | None:
    """What still holds of a course for the deployment that has its name now; None where it begins anew. Pure.

    Args:
        course: As remembered.
        created_at: When that deployment was made: one that was removed and made again is another.
        context_tokens: That it asks for; what was halved for want of memory ends where another is asked for.
    """
    if course.created_at != created_at:
        return None
    if course.shrunk_context_tokens and course.shrunk_from_tokens != context_tokens:
        return replace(course, shrunk_context_tokens=0, shrunk_from_tokens=0)
    return course


def carry_on(courses: Mapping[str, Course], wanted: Iterable[Deployment]) -> dict[str, Course]:
    """What is remembered of each name, where that is still of the deployment that has it. Pure.

    Args:
        courses: Name → as remembered; one that is not wanted now is kept.
        wanted: All that are wanted.
    """
    kept: dict[str, Course | None] = dict(courses)
    for deployment in wanted:
        if deployment.name in courses:
            course = courses[deployment.name]
            kept[deployment.name] = carried_on(course, deployment.created_at, deployment.settings.context_tokens)
    return {name: course for name, course in kept.items() if course is not None}


def shrunk_note(course: Course) -> str:
    """What people have to know of a deployment that answers with less context than it asks for; else empty."""
    tokens = course.shrunk_context_tokens
    return f"it runs with a context of {tokens:,} tokens only, because memory ran out" if tokens else ""


def as_shrunk(deployment: Deployment, course: Course) -> Deployment:
    """The deployment with a smaller context where memory ran out, as it is where it did not."""
    if not course.shrunk_context_tokens:
        return deployment
    changed = deployment.settings.model_copy(update={"context_tokens": course.shrunk_context_tokens})
    return replace(deployment, settings=changed)

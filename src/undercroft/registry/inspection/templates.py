"""Tries a chat template where it can do no harm: a child process with little memory, little time and no secrets.

Jinja's immutable sandbox keeps a template from reaching Python's insides. It does not keep it from counting for ever
or from filling the memory, so the process around it does.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

from undercroft.core.environment import clean_environment
from undercroft.core.errors import InvalidError

TEMPLATE_LIMIT_BYTES = 1024 * 1024
# Not imported: it needs Jinja, which nothing else here does.
_TRIAL = Path(__file__).with_name("template_trial.py")
_TRIAL_TIMEOUT_SECONDS = 60.0  # of a busy machine; the child's own CPU limit is far lower


def check_template(text: str, *, name: str) -> None:
    """Compiles a chat template and renders a small conversation with it, in the sandbox.

    A template that refuses the conversation by itself (many insist on their own order of roles) passes.

    Args:
        text: Jinja text.
        name: What to call it in errors.

    Raises:
        InvalidError: ``bad-template``: it does not compile, reaches for what the sandbox forbids, or goes on without
            an end.
    """
    if len(text) > TEMPLATE_LIMIT_BYTES:
        _refuse(name, f"it has {len(text):,} characters, expected at most {TEMPLATE_LIMIT_BYTES:,}")
    problem = _trial(text)
    if problem is not None:
        _refuse(name, problem)


def _refuse(name: str, problem: str) -> None:
    raise InvalidError(
        "bad-template",
        f"the chat template of {name[-120:]!r} cannot be used: {problem}",
        hint="get the model from where its template is sound, or take the template out",
    )


@functools.lru_cache(maxsize=64)
def _trial(text: str) -> str | None:
    """What is wrong with it, or None."""
    variables = clean_environment()
    variables["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    try:
        done = subprocess.run(
            [sys.executable, "-P", str(_TRIAL)],
            input=json.dumps(text).encode(),
            capture_output=True,
            timeout=_TRIAL_TIMEOUT_SECONDS,
            env=variables,
            cwd="/",
            check=False,
        )
    except subprocess.TimeoutExpired:
        return "it had not ended after a minute"
    if done.returncode < 0:
        return "it used more processor time or memory than a template needs"
    if done.returncode != 0:
        return "it used too much memory or ended the process that tried it"
    problem = json.loads(done.stdout)["problem"]
    return None if problem is None else str(problem)

"""Logs as JSON lines on stdout, for whoever collects them. Never a prompt, a key, or personal data."""

from __future__ import annotations

import logging
import sys
from typing import TextIO, cast

import structlog


def log_json_lines(level: str, stream: TextIO | None = None) -> None:
    """Sets up structlog, and the standard library's logging behind it, for a server process.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        stream: Where lines go; None is stdout.
    """
    number = cast(int, getattr(logging, level.upper()))
    out = stream or sys.stdout
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.format_exc_info, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
            foreign_pre_chain=shared,
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)

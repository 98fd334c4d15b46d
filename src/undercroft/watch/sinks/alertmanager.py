"""Prometheus Alertmanager: told again and again what is open, as it wants to be; it groups, silences and passes on.

Source: https://prometheus.io/docs/alerting/latest/alerts_api: labels name an alert, ``endsAt`` says when it is over;
one that is not sent again ends by itself, so that nothing has to be remembered here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from undercroft.core.clock import to_iso
from undercroft.watch.findings import Severity
from undercroft.watch.incidents.alert_texts import commands_for, what_happened
from undercroft.watch.incidents.incidents import Incident
from undercroft.watch.incidents.notes import Event, note_of
from undercroft.watch.sinks.contract import Post

RESEND = timedelta(seconds=60)
# As Prometheus itself does: four times as long as until it is sent again.
_LASTS = 4 * RESEND


def request(url: str, incidents: Sequence[Incident], language: str, site: str, now: datetime) -> Post:
    """What Alertmanager gets: every incident that is open, or was resolved a short while ago."""
    body = [alert(incident, language, site, now) for incident in incidents]
    return Post(f"{url}/api/v2/alerts", {}, json.dumps(body, ensure_ascii=False).encode())


def alert(incident: Incident, language: str, site: str, now: datetime) -> dict[str, Any]:
    """One incident as Alertmanager's ``postableAlert``."""
    note = note_of(incident, Event.OPENED)
    ends = incident.resolved_at or now + _LASTS
    annotations = {
        "summary": what_happened(note, language),
        "incident": str(incident.id),
        "commands": "\n".join(commands_for(note)),
    }
    if incident.cause:
        annotations["likely_cause"] = incident.cause
    return {
        "labels": {
            "alertname": f"Undercroft{''.join(part.title() for part in incident.kind.value.split('-'))}",
            "service": "undercroft",
            "site": site,
            "subject": incident.subject,
            "severity": incident.severity.value,
        },
        "annotations": annotations,
        "startsAt": to_iso(min(incident.since, ends)),
        "endsAt": to_iso(ends),
    }


def trial(url: str, text: str, site: str, now: datetime) -> Post:
    """An alert that says that nothing is wrong, and ends after a minute."""
    body = [
        {
            "labels": {
                "alertname": "UndercroftTest",
                "service": "undercroft",
                "site": site,
                "severity": Severity.NOTICE.value,
            },
            "annotations": {"summary": text},
            "startsAt": to_iso(now),
            "endsAt": to_iso(now + RESEND),
        }
    ]
    return Post(f"{url}/api/v2/alerts", {}, json.dumps(body, ensure_ascii=False).encode())

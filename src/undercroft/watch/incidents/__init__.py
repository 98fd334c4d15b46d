"""Incidents and alerts: what is open, who is told, what is done by rule."""

"""The gateway: the HTTP door for /v1 and /metrics, and the control process with its admin routes."""

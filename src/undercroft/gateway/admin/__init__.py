"""Admin routes: FastAPI, in the control process, reached through the door or over control's own Unix socket."""

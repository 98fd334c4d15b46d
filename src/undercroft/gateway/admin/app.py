"""The FastAPI application of control: ``/admin`` for people and programs, ``/internal`` for our own processes.

The door lets ``/admin`` and ``/openapi.json`` through, after it has checked the key; ``/internal`` can only
be reached over control's Unix socket, which only the owner of the home can open.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

import undercroft
from undercroft.core.errors import InvalidError, UndercroftError
from undercroft.core.wrong_values import problem_of
from undercroft.gateway.admin import deployments, incidents, internal, journal, keys, models, releases
from undercroft.gateway.admin.parts import ControlParts
from undercroft.gateway.errors import http_status
from undercroft.gateway.openai.openapi import openapi_paths


def create_app(parts: ControlParts) -> FastAPI:
    """Routes, errors and the OpenAPI document, which tells of the door's ``/v1`` routes too."""
    app = FastAPI(
        title="Undercroft",
        version=undercroft.__version__,
        description="Small language models in your own cellar.",
        docs_url=None,  # its page would load scripts from other people's servers
        redoc_url=None,
    )
    app.state.parts = parts
    app.add_exception_handler(UndercroftError, _refuse)
    app.add_exception_handler(RequestValidationError, _refuse_fields)
    for module in (keys, models, deployments, releases, incidents, journal, internal):
        app.include_router(module.router)

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = FastAPI.openapi(app)
            document["paths"] = {**openapi_paths(), **document["paths"]}
            document.setdefault("components", {})["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"key": []}]
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


def envelope(error: UndercroftError) -> dict[str, Any]:
    """An error as JSON, in the form that ``/v1`` uses too."""
    text = f"{error.message} Try: {error.hint}" if error.hint else error.message
    return {"error": {"message": text, "type": type(error).__name__, "param": None, "code": error.code}}


async def _refuse(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, UndercroftError)
    return JSONResponse(envelope(error), status_code=http_status(error))


async def _refuse_fields(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    problems = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {problem_of(e)}" for e in error.errors())
    return JSONResponse(envelope(InvalidError("bad-fields", problems)), status_code=http_status(InvalidError("x", "")))

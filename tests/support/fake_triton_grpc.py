"""The gRPC port of the stand-in for Triton, by Google's own libraries: the same models, numbers and refusals.

Which code each refusal has was seen of Triton 2.51. A text with the word ``wait`` is computed until its caller is gone.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from tests.support.kserve_definition import SERVICE, data_type, message

_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    500: grpc.StatusCode.INTERNAL,
}
_LETTERS = {"FP32": "f", "INT32": "i"}


class RefusedError(Exception):
    """What is answered in place of an answer.

    Args:
        status: As over HTTP.
    """

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status


def serve(port: int, state: Any, config: Callable[[str], dict[str, Any]]) -> None:
    """Begins to serve, in threads.

    Args:
        port: On loopback.
        state: What all requests share, those over HTTP, too.
        config: Settings of a model.
    """

    def ready(request: Any, context: grpc.ServicerContext) -> Any:
        return message("ModelReadyResponse")(ready=request.name in state.counts and state.is_ready)

    def settings(request: Any, context: grpc.ServicerContext) -> Any:
        if request.name not in state.counts:
            raise RefusedError(404, f"Request for unknown model: '{request.name}' is not found")
        return message("ModelConfigResponse")(config=_config(config(request.name)))

    def model_infer(request: Any, context: grpc.ServicerContext) -> Any:
        texts = [_texts(raw) for raw in request.raw_input_contents]
        if "wait" in " ".join(text for column in texts for text in column).split():
            gone = threading.Event()
            assert context.add_callback(gone.set)
            state.waiting += 1
            gone.wait()
            state.cancelled += 1
            raise RefusedError(500, "its caller is gone")
        inputs = [
            {"name": one.name, "datatype": one.datatype, "shape": list(one.shape), "data": column}
            for one, column in zip(request.inputs, texts, strict=True)
        ]
        body = {"inputs": inputs, "outputs": [{"name": one.name} for one in request.outputs]}
        answer = state.infer(request.model_name, body)
        made = message("ModelInferResponse")(model_name=request.model_name, model_version="1", id=request.id)
        for one in answer["outputs"]:
            made.outputs.add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
            made.raw_output_contents.append(
                struct.pack(f"<{len(one['data'])}{_LETTERS[one['datatype']]}", *one["data"])
            )
        return made

    methods = {"ModelReady": ready, "ModelConfig": settings, "ModelInfer": model_infer}
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _guarded(method, state),
            request_deserializer=message(f"{name}Request").FromString,
            response_serializer=lambda answer: answer.SerializeToString(),
        )
        for name, method in methods.items()
    }
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(futures.ThreadPoolExecutor(8), options=[*unlimited, ("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if state.tls is None:
        server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        key, certificates = (Path(file).read_bytes() for file in state.tls)
        server.add_secure_port(f"127.0.0.1:{port}", grpc.ssl_server_credentials([(key, certificates)]))
    server.start()
    state.grpc_server = server  # it ends with its last reference


def _guarded(method: Callable[..., Any], state: Any) -> Callable[..., Any]:
    def answered(request: Any, context: grpc.ServicerContext) -> Any:
        state.metadata = dict(context.invocation_metadata())
        if state.key is not None and state.metadata.get("authorization") != f"Bearer {state.key}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "no such key")
        try:
            return method(request, context)
        except Exception as error:
            status = getattr(error, "status", None)
            if status is None:
                raise
            context.abort(_CODES[status], str(error))

    return answered


def _config(given: dict[str, Any]) -> Any:
    made = message("ModelConfig")(name=given["name"], platform=given["platform"])
    made.max_batch_size = given["max_batch_size"]
    for side in ("input", "output"):
        for one in given[side]:
            getattr(made, side).add(name=one["name"], data_type=data_type(one["data_type"]), dims=one["dims"])
    for name, value in given["parameters"].items():
        made.parameters.add(key=name).value.string_value = value["string_value"]
    return made


def _texts(raw: bytes) -> list[str]:
    found, at = [], 0
    while at < len(raw):
        (size,) = struct.unpack_from("<I", raw, at)
        found.append(raw[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return found

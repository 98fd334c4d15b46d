"""KServe's messages as Google's own library reads them: another reader than ours, of the same definition.

Source: ``grpc_service.proto`` and ``model_config.proto`` of Triton; what of them a client here and a server need.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
_KINDS = {"string": 9, "int32": 5, "int64": 3, "bool": 8, "bytes": 12}
_ENUM, _MESSAGE = 14, 11
_DATA_TYPES = (
    *("TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_UINT16", "TYPE_UINT32", "TYPE_UINT64", "TYPE_INT8"),
    *("TYPE_INT16", "TYPE_INT32", "TYPE_INT64", "TYPE_FP16", "TYPE_FP32", "TYPE_FP64", "TYPE_STRING", "TYPE_BF16"),
)
# Message → field → number and kind; a kind in brackets is repeated, one in words another message.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "ServerLiveRequest": {},
    "ServerLiveResponse": {"live": (1, "bool")},
    "ServerReadyRequest": {},
    "ServerReadyResponse": {"ready": (1, "bool")},
    "ModelReadyRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelReadyResponse": {"ready": (1, "bool")},
    "ModelConfigRequest": {"name": (1, "string"), "version": (2, "string")},
    "ModelConfigResponse": {"config": (1, "ModelConfig")},
    "ModelParameter": {"string_value": (1, "string")},
    "ParametersEntry": {"key": (1, "string"), "value": (2, "ModelParameter")},
    "ModelInput": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (4, "[int64]")},
    "ModelOutput": {"name": (1, "string"), "data_type": (2, "DataType"), "dims": (3, "[int64]")},
    "ModelConfig": {
        **{"name": (1, "string"), "platform": (2, "string"), "max_batch_size": (4, "int32")},
        **{"input": (5, "[ModelInput]"), "output": (6, "[ModelOutput]"), "parameters": (14, "[ParametersEntry]")},
    },
    "InferInputTensor": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "[int64]")},
    "InferRequestedOutputTensor": {"name": (1, "string")},
    "InferOutputTensor": {"name": (1, "string"), "datatype": (2, "string"), "shape": (3, "[int64]")},
    "ModelInferRequest": {
        **{"model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string")},
        **{"inputs": (5, "[InferInputTensor]"), "outputs": (6, "[InferRequestedOutputTensor]")},
        "raw_input_contents": (7, "[bytes]"),
    },
    "ModelInferResponse": {
        **{"model_name": (1, "string"), "model_version": (2, "string"), "id": (3, "string")},
        **{"outputs": (5, "[InferOutputTensor]"), "raw_output_contents": (6, "[bytes]")},
    },
}


def _defined() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="undercroft_test_kserve.proto", package=PACKAGE, syntax="proto3")
    enum = file.enum_type.add(name="DataType")
    for number, name in enumerate(_DATA_TYPES):
        enum.value.add(name=name, number=number)
    for message, fields in _MESSAGES.items():
        made = file.message_type.add(name=message)
        for name, (number, kind) in fields.items():
            bare = kind.strip("[]")
            field = made.field.add(name=name, number=number, label=3 if kind != bare else 1)
            field.type = _KINDS.get(bare, _ENUM if bare == "DataType" else _MESSAGE)
            if bare not in _KINDS:
                field.type_name = f".{PACKAGE}.{bare}"
    found: dict[str, Any] = message_factory.GetMessages([file], pool=descriptor_pool.DescriptorPool())
    return found


_CLASSES = _defined()


def message(name: str) -> Any:
    """The class of a message."""
    return _CLASSES[f"{PACKAGE}.{name}"]


def data_type(name: str) -> int:
    """Number of ``TYPE_FP32`` and the like."""
    return _DATA_TYPES.index(name)

"""Triton's own definition of its settings: ``python triton_definition.py FILE…``, by the Python that has tritonclient.

Prints JSON: ``fields``, kinds of the fields of every message, as `undercroft.registry.triton.fields` says; ``enums``;
``read``, each file as Protocol Buffers read it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from tritonclient.grpc import model_config_pb2

_PLAIN = {1: "real", 2: "real", 3: "integer", 4: "natural", 5: "integer", 8: "truth", 9: "text", 13: "natural"}


def kind_of(field: Any) -> str:
    """A field's kind, in our words."""
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        inner = field.message_type.fields_by_name
        return f"{{{kind_of(inner['key'])}: {kind_of(inner['value'])}}}"
    named = field.message_type or field.enum_type
    kind = named.full_name.removeprefix("inference.") if named is not None else _PLAIN[field.type]
    return f"[{kind}]" if field.label == field.LABEL_REPEATED else kind


def walk(message: Any, fields: dict[str, Any], enums: dict[str, Any]) -> None:
    """Every message that can be reached."""
    name = message.full_name.removeprefix("inference.")
    if name in fields or message.GetOptions().map_entry:
        for field in message.fields if message.GetOptions().map_entry else ():
            if field.message_type is not None:
                walk(field.message_type, fields, enums)
        return
    fields[name] = {field.name: kind_of(field) for field in message.fields}
    for field in message.fields:
        if field.enum_type is not None:
            enums[field.enum_type.full_name.removeprefix("inference.")] = [v.name for v in field.enum_type.values]
        if field.message_type is not None:
            walk(field.message_type, fields, enums)


def main() -> None:
    """Prints what it found."""
    fields: dict[str, Any] = {}
    enums: dict[str, Any] = {}
    walk(model_config_pb2.ModelConfig.DESCRIPTOR, fields, enums)
    read = [
        json_format.MessageToDict(
            text_format.Parse(Path(name).read_text(encoding="utf-8"), model_config_pb2.ModelConfig()),
            preserving_proto_field_name=True,
        )
        for name in sys.argv[1:]
    ]
    print(json.dumps({"fields": fields, "enums": enums, "read": read}))


if __name__ == "__main__":
    main()

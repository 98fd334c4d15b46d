"""Builds small ONNX files by the bytes of their wire format, so that each part can be wrong on purpose."""

from __future__ import annotations

from collections.abc import Sequence


def varint(number: int) -> bytes:
    """A number in the wire format's own length."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def number(tag: int, value: int) -> bytes:
    """A field that holds a number."""
    return varint(tag << 3) + varint(value)


def message(tag: int, *parts: bytes) -> bytes:
    """A field that holds bytes, text or a message."""
    content = b"".join(parts)
    return varint(tag << 3 | 2) + varint(len(content)) + content


def tensor(name: str, shape: Sequence[int], *, external: dict[str, str] | None = None) -> bytes:
    """An initializer, its weights inside or in a file beside the model."""
    parts = [number(1, size) for size in shape] + [number(2, 1), message(8, name.encode())]
    if external is None:
        count = 1
        for size in shape:
            count *= size
        parts.append(message(9, bytes(4 * count)))
    else:
        parts += [message(13, message(1, k.encode()), message(2, v.encode())) for k, v in external.items()]
        parts.append(number(14, 1))
    return message(5, *parts)


def model(*initializers: bytes, nodes: Sequence[bytes] = ()) -> bytes:
    """A model of one operator."""
    node = message(1, message(1, b"x"), message(2, b"y"), message(4, b"Identity"))
    graph = message(7, node, *nodes, message(2, b"graph"), *initializers)
    return number(1, 8) + message(2, b"test") + graph + message(8, number(2, 17))


def nested_graphs(depth: int) -> bytes:
    """A node whose attribute holds a graph with such a node, and so on."""
    inner = message(2, b"deep")
    for _ in range(depth):
        inner = message(1, message(5, message(6, inner)))
    return inner

"""What goes over the pipe comes out of it."""

from __future__ import annotations

import io

import numpy as np
import pytest

from undercroft.optimize.llama_library.messages import Message, receive, send


def written() -> bytes:
    """Two messages, one with arrays."""
    stream = io.BytesIO()
    send(stream, Message({"text": 3, "words": "ไทย"}, {"a": np.arange(6, dtype=np.float64).reshape(2, 3)}))
    send(stream, Message({"done": True}, {"none": np.empty(0, np.int32), "flags": np.asarray([True, False])}))
    return stream.getvalue()


def test_messages_come_out_as_they_went_in() -> None:
    """Headers and arrays, empty ones and several, keep their values, shapes and types."""
    stream = io.BytesIO(written())
    first, second = receive(stream), receive(stream)
    assert first is not None
    assert second is not None
    assert first.header == {"text": 3, "words": "ไทย"}
    assert first.arrays["a"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert second.arrays["none"].shape == (0,)
    assert second.arrays["flags"].tolist() == [True, False]
    assert receive(stream) is None


def test_a_message_that_breaks_off_is_the_end() -> None:
    """Wherever the other side died, nothing half is taken for a message."""
    whole = written()
    first = len(whole) - whole[::-1].index(b"{"[::-1])
    for length in range(first - 5):
        stream = io.BytesIO(whole[:length])
        received = receive(stream)
        if received is not None:
            assert received.header["text"] == 3
            assert receive(stream) is None


def test_arrays_of_other_types_are_refused() -> None:
    """Only plain numbers are made of bytes."""
    header = b'{"arrays": [["a", "|O", [1]]]}'
    with pytest.raises(ValueError, match=r"array 'a' has type '\|O'"):
        receive(io.BytesIO(len(header).to_bytes(4, "little") + header + bytes(8)))

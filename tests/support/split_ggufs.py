"""Split GGUFs, as ``llama-gguf-split`` writes them: metadata in the first part, tensors in the order of the whole."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np


def write_split(whole: Path, folder: Path, *, parts: int = 2, stem: str = "part") -> Path:
    """Splits a model; its first part.

    Args:
        whole: A GGUF file.
        folder: Where the parts go.
        parts: How many; count.
        stem: Before ``-00001-of-00002.gguf``.
    """
    reader = gguf.GGUFReader(whole)
    names = [folder / f"{stem}-{number:05d}-of-{parts:05d}.gguf" for number in range(1, parts + 1)]
    for number, name in enumerate(names):
        first, last = (len(reader.tensors) * one // parts for one in (number, number + 1))
        writer = gguf.GGUFWriter(name, str(reader.fields["general.architecture"].contents()))
        if number == 0:
            _copy_metadata(reader, writer)
        else:
            writer.kv_data[0].clear()
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", parts)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in reader.tensors[first:last]:
            writer.add_tensor(tensor.name, np.array(tensor.data), raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return names[0]


def _copy_metadata(reader: gguf.GGUFReader, writer: gguf.GGUFWriter) -> None:
    for key, field in reader.fields.items():
        if not key.startswith("GGUF.") and key != "general.architecture":
            item = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(key, field.contents(), field.types[0], sub_type=item)

"""Loads model files with the real engine's own loader, each in a process that may end as it likes.

Run as ``python -m tests.support.engine_loader FILE...``: one line of JSON, file name → how its process ended: 0 it
loaded, 1 the loader refused it, below 0 the signal that ended it.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
from pathlib import Path

import xllamacpp


class _Parameters(ctypes.Structure):
    # llama.h passes its parameters by value as a last argument; more bytes than they have do no harm there.
    _fields_ = (("opaque", ctypes.c_char * 512),)


def main() -> None:
    """Tries every file that is named."""
    print(json.dumps({name: _ending(name) for name in sys.argv[1:]}))


def _ending(name: str) -> int:
    pid = os.fork()
    if pid == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os._exit(0 if _load(name) else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _load(name: str) -> bool:
    library = ctypes.CDLL(next(str(path) for path in Path(xllamacpp.__file__).parent.glob("*.so")))
    library.llama_model_default_params.restype = _Parameters
    library.llama_context_default_params.restype = _Parameters
    library.llama_model_load_from_file.restype = ctypes.c_void_p
    library.llama_model_load_from_file.argtypes = [ctypes.c_char_p, _Parameters]
    library.llama_init_from_model.restype = ctypes.c_void_p
    library.llama_init_from_model.argtypes = [ctypes.c_void_p, _Parameters]
    model = library.llama_model_load_from_file(name.encode(), library.llama_model_default_params())
    return bool(model and library.llama_init_from_model(model, library.llama_context_default_params()))


if __name__ == "__main__":
    main()

"""llama.cpp's own quantizer, made from the sources of the very release that the installed engine was made of.

    python -m benchmarks.llama_quantize [OPTIONS] MODEL RESULT SCHEME [THREADS]

The source archive of ``xllamacpp`` holds llama.cpp's sources. Its tool and its driver (``quantize.cpp``,
``llama-quant.cpp``, ``imatrix-loader.cpp``), which the wheel leaves out, are compiled with the system's compiler into a
library beside the engine's, which brings everything else. What is called is their ``main``, with its own command line.
Made once, into ``.benchmarks/``.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from benchmarks.machine import own_peak_memory_bytes
from benchmarks.processes import KEPT, MissingError
from undercroft.hardware.measuring.matrix import library_path

_PACKAGE = "xllamacpp"
_SOURCES = ("src/llama-quant.cpp", "tools/quantize/quantize.cpp", "common/imatrix-loader.cpp")
_HEADERS = ("include", "ggml/include", "src", "common", "vendor")
_MAIN = "_Z14llama_quantizeiPPc"
_BUILD_SECONDS = 600
# The wheel is made for old systems, whose strings have another layout.
_OLD_STRINGS = "-D_GLIBCXX_USE_CXX11_ABI=0"


def version() -> str:
    """Of the engine's package; the last part is llama.cpp's own build number."""
    return importlib.metadata.version(_PACKAGE)


def need_library() -> Path:
    """The library with the tool, made at the first call.

    Raises:
        MissingError: There is no compiler, or the sources cannot be had.
    """
    library = KEPT / f"llama-quantize-{version()}.so"
    if library.exists():
        return library
    if shutil.which("g++") is None:
        raise MissingError("llama.cpp's quantizer cannot be made without g++")
    KEPT.mkdir(exist_ok=True)
    print(f"making llama.cpp's quantizer of {_PACKAGE} {version()} (once, a minute) ...", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        sources = _fetch(Path(folder))
        made = Path(folder) / library.name
        includes = [f"-I{sources / name}" for name in _HEADERS]
        files = [str(sources / name) for name in _SOURCES]
        _call("g++", "-shared", "-fPIC", "-O2", "-std=c++17", _OLD_STRINGS, *includes, *files, "-o", str(made))
        shutil.move(made, library)
    return library


def _fetch(folder: Path) -> Path:
    wanted = f"{_PACKAGE}=={version()}"
    pip = (sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps")
    _call(*pip, "--no-binary", _PACKAGE, "-d", str(folder), wanted)
    archive = next(folder.glob("*.tar.gz"), None)
    if archive is None:
        raise MissingError(f"the package index has no sources of {wanted}")
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")
    return next(folder.glob(f"{_PACKAGE}-*/thirdparty/llama.cpp"))


def _call(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_BUILD_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()
        raise MissingError(f"{Path(command[0]).name} failed: {reason[-200:]}") from error


def main() -> None:
    """Calls the tool with this command line; the last line is the most memory that it took, in bytes."""
    ctypes.CDLL(str(library_path()), mode=ctypes.RTLD_GLOBAL)
    function = getattr(ctypes.CDLL(str(need_library())), _MAIN)
    words = [b"llama-quantize", *(word.encode() for word in sys.argv[1:])]
    status = function(len(words), (ctypes.c_char_p * (len(words) + 1))(*words, None))
    print(own_peak_memory_bytes(), flush=True)
    sys.exit(status)


if __name__ == "__main__":
    main()

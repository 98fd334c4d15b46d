"""Other people's programs: the upstream that answers from memory, and the proxies that ours is measured beside."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import machine
from benchmarks.answers import COMPLETION, MODELS, NAME
from benchmarks.processes import KEPT, MissingError, answers, free_port, started

LITELLM = "1.106.0"
_INSTALL_SECONDS = 900
_VERSION = re.compile(r"\d+\.\d+[\w.~+-]*")

_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off; default_type application/json; keepalive_requests 1000000000; keepalive_timeout 600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port};
    listen unix:{folder}/upstream.sock;
    location /v1/models {{ return 200 '{models}'; }}
    location / {{ return 200 '{completion}'; }}
  }}
}}
"""

_HAPROXY = """
global
  nbthread 1
  maxconn 4000
defaults
  mode http
  option http-no-delay
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
listen plain
  bind 127.0.0.1:{plain_port}
  server upstream 127.0.0.1:{upstream}
listen streamed
  bind 127.0.0.1:{stream_port}
  server upstream 127.0.0.1:{stream_upstream}
"""

_LITELLM = """
model_list:
  - model_name: memory
    litellm_params: {{model: openai/memory, api_base: "http://127.0.0.1:{upstream}/v1", api_key: none}}
  - model_name: streamed
    litellm_params: {{model: openai/memory, api_base: "http://127.0.0.1:{stream_upstream}/v1", api_key: none}}
litellm_settings:
  telemetry: false
  set_verbose: false
general_settings:
  master_key: {key}
"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A way to the upstreams.

    Args:
        name: For the report.
        port: Where requests answered in one piece go.
        stream_port: Where streamed ones go.
        pids: Its processes; empty for the straight line.
        key: Asked for; None asks for none.
        model: Name of the plain upstream there.
        stream_model: Name of the streaming upstream there.
        other_pids: Processes that work for it beside the path of a request.
    """

    name: str
    port: int
    stream_port: int
    pids: Sequence[int] = ()
    key: str | None = None
    model: str = NAME
    stream_model: str = NAME
    other_pids: Sequence[int] = field(default=())


@dataclass(frozen=True, slots=True)
class Upstreams:
    """The servers that answer from memory.

    Args:
        plain: Port of nginx.
        streamed: Port of `benchmarks.stream_upstream`.
    """

    plain: int
    streamed: int


def need_programs(*names: str) -> None:
    """Programs from Debian's packages, installed where they are missing and that is allowed.

    Raises:
        MissingError: They are not there and cannot be installed; says what to do.
    """
    missing = [name for name in names if shutil.which(name) is None and not Path("/usr/sbin", name).exists()]
    if not missing:
        return
    packages = ["nginx-light" if name == "nginx" else name for name in missing]
    command = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingError(f"{', '.join(missing)} is not installed; as root: {' '.join(command)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise MissingError(f"{' '.join(command)} failed: {done.stderr.strip()[-200:]}")


def need_litellm() -> Path:
    """LiteLLM's proxy in an environment of its own, made at the first call. Returns its program.

    Raises:
        MissingError: It cannot be installed.
    """
    home = KEPT / f"litellm-{LITELLM}"
    program = home / "bin" / "litellm"
    done_mark = home / "installed"
    if done_mark.exists():
        return program
    print(f"installing LiteLLM {LITELLM} into {home} (once, some minutes) ...", file=sys.stderr, flush=True)
    try:
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True, capture_output=True)
        pip = [str(home / "bin" / "pip"), "install", "-q", "--disable-pip-version-check"]
        subprocess.run(
            [*pip, f"litellm[proxy]=={LITELLM}"], check=True, capture_output=True, text=True, timeout=_INSTALL_SECONDS
        )
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()
        raise MissingError(f"LiteLLM {LITELLM} cannot be installed: {reason[-200:]}") from error
    done_mark.touch()
    return program


def version(program: str, flag: str) -> str:
    """What a program says its version is."""
    done = subprocess.run([_path(program), flag], capture_output=True, text=True, check=False)
    found = _VERSION.search(done.stdout + done.stderr)
    return found[0] if found else "unknown"


def _path(program: str) -> str:
    return shutil.which(program) or f"/usr/sbin/{program}"


@contextlib.contextmanager
def upstreams(cores: set[int]) -> Iterator[Upstreams]:
    """Both servers, as long as the block.

    Args:
        cores: Where they run.

    Raises:
        MissingError: One of them does not start.
    """
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plain, streamed = free_port(), free_port()
        config = folder / "nginx.conf"
        config.write_text(_NGINX.format(folder=folder, port=plain, models=MODELS, completion=COMPLETION), "utf-8")
        folder.chmod(0o755)
        stack.enter_context(
            started(
                [_path("nginx"), "-e", folder / "error.log", "-c", config],
                is_ready=lambda: answers(plain),
                cores=cores,
            )
        )
        command = [sys.executable, "-m", "benchmarks.stream_upstream", "--port", str(streamed)]
        stack.enter_context(
            started(
                [*command, "--socket", folder / "streamed.sock"],
                is_ready=lambda: answers(streamed),
                cores=cores,
            )
        )
        yield Upstreams(plain, streamed)


@contextlib.contextmanager
def haproxy(to: Upstreams, cores: set[int]) -> Iterator[Proxy]:
    """HAProxy without delays of its own, one thread.

    Raises:
        MissingError: It does not start.
    """
    with tempfile.TemporaryDirectory() as folder:
        plain, streamed = free_port(), free_port()
        config = Path(folder, "haproxy.cfg")
        text = _HAPROXY.format(plain_port=plain, stream_port=streamed, upstream=to.plain, stream_upstream=to.streamed)
        config.write_text(text, encoding="utf-8")
        command = [_path("haproxy"), "-db", "-q", "-f", str(config)]
        with started(command, is_ready=lambda: answers(plain), cores=cores) as pid:
            yield Proxy("haproxy", plain, streamed, machine.tree(pid))


@contextlib.contextmanager
def litellm(to: Upstreams, cores: set[int]) -> Iterator[Proxy]:
    """LiteLLM's proxy with one worker and a key, without a database.

    Raises:
        MissingError: It cannot be installed or does not start.
    """
    program = need_litellm()
    with tempfile.TemporaryDirectory() as folder:
        port, key = free_port(), "sk-" + secrets.token_hex(16)
        config = Path(folder, "litellm.yaml")
        text = _LITELLM.format(upstream=to.plain, stream_upstream=to.streamed, key=key)
        config.write_text(text, encoding="utf-8")
        config.chmod(0o600)
        command: list[str | Path] = [
            program,
            "--config",
            config,
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--num_workers",
            "1",
        ]
        environment = {
            "PATH": f"{program.parent}:/usr/bin:/bin",
            "HOME": folder,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
        }
        with started(
            command,
            is_ready=lambda: answers(port, "/health/liveliness"),
            cores=cores,
            environment=environment,
            seconds=120.0,
        ) as pid:
            yield Proxy("litellm", port, port, machine.tree(pid), key=key, stream_model="streamed")

"""The server of `tests.support.real_engine`, in a process of its own: not every system lets tests import llama.cpp."""

from __future__ import annotations

import sys
import time

import xllamacpp

from tests.support.real_engine import ENGINE_KEY


def serve(model: str, socket: str, name: str, task: str, slots: str, context_tokens: str, *adapters: str) -> None:
    """Runs the server until the process is ended."""
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {name}
    params.n_parallel = int(slots)
    params.n_ctx = int(context_tokens) * int(slots)
    params.cpuparams.n_threads = 1
    params.hostnames = [socket]
    params.api_keys = [ENGINE_KEY]
    params.warmup = False
    if task != "generate":
        params.embedding = True
        params.n_batch = params.n_ubatch = int(context_tokens)
    if task == "rerank":
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    if adapters:
        params.lora_init_without_apply = True
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in adapters]
    server = xllamacpp.Server(params)
    while server.listening_address:
        time.sleep(3600)


if __name__ == "__main__":
    serve(*sys.argv[1:])

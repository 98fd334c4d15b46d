"""The door process: connections, keys, queues, replicas. What OpenAI's routes mean stands in ``gateway.openai``.

Run as ``python -m undercroft.gateway.door``.
"""

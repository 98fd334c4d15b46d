"""Engines: the programs that run a model. One contract, one module an engine, one sealed process a replica."""

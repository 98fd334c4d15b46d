"""gRPC as Triton speaks it: one call at a time over one HTTP/2 connection, and KServe's messages. Needs the extra."""

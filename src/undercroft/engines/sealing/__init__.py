"""What shuts an engine in: its own empty network, the files it may see, the system calls it may make.

Linux only; elsewhere each part says that it is not possible, and the engine runs with its socket and key alone.
"""

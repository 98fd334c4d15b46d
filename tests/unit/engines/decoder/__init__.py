"""The program of a replica that generates."""

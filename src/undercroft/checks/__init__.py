"""Questions with what their answers must be like, and whether an answer is: shared by probes and by evaluations."""

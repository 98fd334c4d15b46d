"""Standard suites by `lm-eval`: it asks and judges, our engine answers, and nothing is fetched."""

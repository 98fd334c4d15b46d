"""One evaluator for every model: a task set, texts, speed, memory; compared with a parent; judged by a gate."""

"""Standard questions: asked through the door, judged by checks, compared with a baseline."""

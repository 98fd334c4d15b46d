"""Standard questions: what they are, how their answers are judged, when they are asked, what came of it."""

"""Students that are new: the vocabulary of a teacher, a shape of their own, weights drawn by chance."""

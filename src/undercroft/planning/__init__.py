"""Does it fit, how fast, what does it cost: arithmetic without input or output."""

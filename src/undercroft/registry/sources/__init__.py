"""Where models come from: this machine, a hub."""

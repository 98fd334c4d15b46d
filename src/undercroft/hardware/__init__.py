"""What this machine is and measures, and the catalogue of devices one could buy."""

"""What goes wrong most, looked at: this machine, this home, this server. Nothing is changed and nothing is sent."""

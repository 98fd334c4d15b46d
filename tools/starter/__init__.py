"""Training code of the starter model "Ticket Pilot". Not part of the installed package; see README.md."""

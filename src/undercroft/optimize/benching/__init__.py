"""How fast a registered model is on this machine, in the runtime that it is made for; and what a device needs of it."""

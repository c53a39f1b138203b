"""How fast the system is, where the time goes, what sharing a prompt saves; a peer beside it."""

"""Where arrays live: a mesh of devices, one or several processes, who holds which part of what."""

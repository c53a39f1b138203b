"""Where arrays live: the mesh of devices, and how parameters and batches are sharded over it."""

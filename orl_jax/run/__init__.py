"""What every script needs, whatever the method: flags, configuration, checkpoints, files."""

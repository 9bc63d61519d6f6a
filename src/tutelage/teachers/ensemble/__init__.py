"""Several teachers that answer as one."""

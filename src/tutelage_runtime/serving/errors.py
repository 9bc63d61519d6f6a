"""What keeps a server from starting or reloading."""


class ServeError(Exception):
    """Folders or options that cannot be served; the message says what to do."""

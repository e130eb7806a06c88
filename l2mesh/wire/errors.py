"""The one exception that leaves a parser of this package."""


class BadPacket(ValueError):
    """Untrusted bytes are not what they claim to be: the sender's fault, and only this packet is lost."""

"""l2mesh: one Ethernet switch across the internet."""

__version__ = "0.1.0"

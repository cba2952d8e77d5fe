"""AiiDA plugin: screen crystals by dielectric tensor with GoeCTP, verify by DFPT, learn from the results."""

__version__ = '0.1.0'

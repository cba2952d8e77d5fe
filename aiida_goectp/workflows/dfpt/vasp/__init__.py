"""VASP as DFPT engine."""

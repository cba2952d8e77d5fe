"""Quantum ESPRESSO as DFPT engine."""

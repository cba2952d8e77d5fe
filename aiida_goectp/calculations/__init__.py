"""Calculation jobs and calcfunctions: what makes new nodes out of old ones."""

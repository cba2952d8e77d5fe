"""Protocols: named sets of inputs in YAML files, which explain their keys."""

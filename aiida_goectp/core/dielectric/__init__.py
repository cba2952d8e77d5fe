"""Dielectric tensors: predictions, DFPT responses, frames, metrics, quality gates and phonons at Γ."""

"""Calculation jobs and calcfunctions."""

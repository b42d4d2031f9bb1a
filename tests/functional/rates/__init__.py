"""Limits and marks, measured."""

"""Meshes of eight hosts: who hears whom, and what becomes of it when hosts die, move and change."""

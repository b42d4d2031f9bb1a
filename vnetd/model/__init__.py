"""Frozen, validated values. One that exists is legal; nothing here does I/O."""

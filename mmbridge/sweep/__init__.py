"""Sweeps: variants of a config, each with several seeds, carried out as ordinary runs and compared."""

"""How long tasks tell how far they are."""

from collections.abc import Callable

Watch = Callable[[str, int, int], object]
"""Told what is being done, how much of it there is, and how much more of it is done."""

"""The limit at which bad records stop a run. Torch-free: it is asked before training, too."""

MIN_BAD = 10
"""Different bad records before their share means anything: 1 of 16 is an accident, met again in every epoch."""


def too_many(bad: float, seen: float, max_bad_fraction: float) -> bool:
    """Say whether so many different bad records among the samples seen are too many.

    Too many is: at least 10, and more than `max_bad_fraction` of the samples. A limit of 0 stops at the first.
    """
    return bad >= (MIN_BAD if max_bad_fraction else 1) and bad > max_bad_fraction * seen

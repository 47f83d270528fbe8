"""Views: an image seen several times, each time cropped and flipped as training does; one is drawn per epoch."""

from mmbridge.data.order import draw, permute


def view_seed(part: str, row: int, view: int) -> int:
    """Give the seed of what is random in a view of image `row` of a data set; not of the run, so that runs share it."""
    return draw("view", part, row, view)


def view_at(seed: int, name: str, index: int, epoch: int, views: int) -> int:
    """Say which view of its image a record shows in an epoch: in `views` epochs all of them, in an order of its own."""
    rounds, turn = divmod(epoch, views)
    return permute(turn, views, seed, "view", name, index, rounds)

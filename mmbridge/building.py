"""Building: one part of a recipe, with its weights found first. Imports no torch itself."""

from mmbridge_registry import Catalog, UserError

from mmbridge.recipe import Chosen
from mmbridge.weights import with_located


def build(chosen: Chosen, catalog: Catalog, **context: object):
    """Build one part; a mistake that names no place is the config's, where the part is chosen.

    Raises:
        UserError: weights that are not on this machine, or what the part's builder raises.
    """
    located = with_located(chosen, catalog)
    try:
        return located.build(**context)
    except UserError as error:
        if error.where is None:
            raise UserError(error.what, where=chosen.where, do=error.do) from error
        raise

"""LAVIS' `.pth` files: `format` is the part, `importing` and `exporting` its two directions."""

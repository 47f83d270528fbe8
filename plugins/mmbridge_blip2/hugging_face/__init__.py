"""transformers' BLIP-2 folders: `format` is the part, `importing` and `exporting` its two directions."""

"""A model that answers from the pixels it is given, requests to it, and a server of it in a process of its own."""

import sys
from base64 import b64encode
from io import BytesIO
from time import sleep

import torch
from mmbridge_registry import UserError
from PIL import Image
from torch.nn.functional import normalize

from mmbridge.data.images import decode

HOST = "http://127.0.0.1:8000"


class Looker:
    """Says the colours that it sees and the prompt that it reads; some words make it fail."""

    def __init__(self, seconds=0.0):
        self.seconds = seconds
        self.calls = []

    def complete(self, images, prompts, generation):
        self.calls.append((len(prompts), generation))
        sleep(self.seconds)
        if any("explode" in prompt for prompt in prompts):
            raise RuntimeError("secret path /etc/passwd")
        if any("mistake" in prompt for prompt in prompts):
            raise UserError("this prompt is longer than the model reads.", where="/secret/place")
        rows = zip(images, prompts, strict=True)
        return [f"{' '.join(colour_of(image) for image in several)}|{prompt}" for several, prompt in rows]

    def embed_texts(self, texts):
        return torch.stack([direction(text) for text in texts])

    def embed_images(self, images):
        return torch.stack([torch.stack([direction(colour_of(image) + str(q)) for q in range(4)]) for image in images])


def direction(text):
    """Give a unit vector [6] that belongs to a text."""
    draw = torch.Generator().manual_seed(sum(map(ord, text)))
    return normalize(torch.randn(6, generator=draw), dim=0)


def colour_of(encoded):
    """Give the colour of an image's first pixel as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*decode(encoded).getpixel((0, 0)))


def encoded(colour, size=(8, 8), kind="PNG"):
    """Give an encoded image of one colour."""
    file = BytesIO()
    Image.new("RGB", size, colour).save(file, kind)
    return file.getvalue()


def data_uri(content, kind="image/png"):
    """Give the data URI of an encoded image, or of a new one of that colour."""
    content = content if isinstance(content, bytes) else encoded(content)
    return f"data:{kind};base64,{b64encode(content).decode()}"


def image_part(content):
    """Give a message's part."""
    is_uri = isinstance(content, str) and content[:5].lower() == "data:"
    return {"type": "image_url", "image_url": {"url": content if is_uri else data_uri(content)}}


def asked(text, *contents, **fields):
    """Give the body of a chat request: images, then words."""
    parts = [*map(image_part, contents), {"type": "text", "text": text}]
    return {"messages": [{"role": "user", "content": parts}], **fields}


def serve(seconds, token):
    """Serve a Looker on a free port, after printing it."""
    from mmbridge.serve.app import build_app
    from mmbridge.serve.limits import Limits
    from mmbridge.serve.listening import LOOPBACK, bind, listen

    limits = Limits(header_seconds=1, body_seconds=1.5, connections=150)
    with bind("127.0.0.1", 0) as opened:
        print(opened.getsockname()[1], flush=True)
        listen(build_app(Looker(seconds), "looker", limits, token or None, LOOPBACK), opened, limits)


if __name__ == "__main__":
    serve(float(sys.argv[1]), sys.argv[2])

"""Writing: captions, answers, and the likelihood of answers."""

from collections.abc import Sequence

from mmbridge_registry import Generation
from mmbridge_registry.prompts import check_images

from mmbridge.decoding import ANSWER, CAPTION
from mmbridge.inference.interleaved import put
from mmbridge.inference.learned import language_model_of, text_bridge_in_step, writes
from mmbridge.inference.listing import Images, Picture, listed, per_row, repeated, several
from mmbridge.inference.prompting import asked, check_places
from mmbridge.inference.reading import Reading

Candidates = Sequence[str] | Sequence[Sequence[str]]
"""Answers to choose from: the same for all rows, or a list for each."""


class Writing(Reading):
    """What a model does in words."""

    @property
    def writes(self) -> bool:
        """Whether the language model can be asked: it is there, and something has learned to show it images."""
        return writes(self.bridged)

    def caption(
        self, images: Images, prompt: str | Sequence[str] = CAPTION.prompt, generation: Generation = CAPTION.generation
    ) -> list[str]:
        """Write one caption per image that goes on after `prompt`, which may be one for each.

        The language model writes, if there is one and its projection was trained; else the bridge's own decoder,
        which knows no prompts: it writes whole captions, and one that begins with the prompt loses it.

        Raises:
            UserError: there is nobody who could write, or an image cannot be read.
        """
        images = listed(images)
        prompts = repeated(prompt, len(images))
        check_places(len(images), prompts)
        if self.writes:
            return self._write(images, prompts, generation)
        bridge = text_bridge_in_step(self.bridged, "decode")
        written = self.ask(images, lambda features, _: bridge.generate_text(bridge.encode_image(features), generation))
        return [text.removeprefix(prompt).strip() for text, prompt in zip(written, prompts, strict=True)]

    def answer(
        self,
        images: Images,
        questions: str | Sequence[str] | None = None,
        prompt: str | Sequence[str] = ANSWER.prompt,
        generation: Generation = ANSWER.generation,
        *,
        candidates: Candidates | None = None,
    ) -> list[str]:
        """Answer one question per image, or the same of every image; `{}` in the prompt stands for the question.

        Without questions the prompt itself is asked. With `<image>` in it, a lone prompt is one question about all the
        images, each in its own place. With `candidates` the likeliest of them is the answer, see `rank`.

        Raises:
            UserError: there is no trained language model; images, questions and `<image>` do not agree in number; the
                prompt has no `{}`; an image cannot be read.
        """
        images = listed(images)
        if candidates is None:
            return self._write(images, asked(len(images), questions, prompt), generation)
        scores = self.rank(images, questions, candidates, prompt)
        rows = zip(per_row(candidates, len(scores)), scores, strict=True)
        return [texts[row.index(max(row))] for texts, row in rows]

    def complete(
        self, images: Sequence[Images], prompts: Sequence[str], generation: Generation = CAPTION.generation
    ) -> list[str]:
        """Go on after prompts with any number of images each: `<image>` in a prompt is the place of one.

        A prompt without it has one image, in front. An image that stands in several prompts is encoded once.

        Raises:
            UserError: images and `<image>` do not agree in a prompt; there is no trained language model.
        """
        rows, prompts = [listed(row) for row in several(images, "images")], several(prompts, "prompts")
        if len(rows) != len(prompts):
            check_places(len(rows), prompts)
        for row, prompt in zip(rows, prompts, strict=True):
            check_images([prompt], len(row))
        return self._write([image for row in rows for image in row], prompts, generation)

    def rank(
        self,
        images: Images,
        questions: str | Sequence[str] | None,
        candidates: Candidates,
        prompt: str | Sequence[str] = ANSWER.prompt,
    ) -> list[list[float]]:
        """Log-likelihood of every candidate answer of every row: summed over its tokens and its end, natural log.

        Nothing is divided by the length, so that a short answer is likelier than a long one that is as good.

        Raises:
            UserError: as `answer`; or a row has no candidates.
        """
        images, language_model = listed(images), language_model_of(self.bridged)
        prompts = asked(len(images), questions, prompt)
        check_places(len(images), prompts)
        texts = per_row(candidates, len(prompts))
        scores = put(self, images, prompts, lambda shown, rows: language_model.score(shown, prompts[rows], texts[rows]))
        return [row.tolist() for row in scores]

    def _write(self, images: Sequence[Picture], prompts: Sequence[str], generation: Generation) -> list[str]:
        language_model = language_model_of(self.bridged)
        check_places(len(images), prompts)
        return put(self, images, prompts, lambda shown, rows: language_model.generate(shown, prompts[rows], generation))

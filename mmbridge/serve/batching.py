"""Batching: what several clients ask at the same time is answered in one call. One thread runs the model."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mmbridge_registry import UserError

from mmbridge.serve.limits import Limits
from mmbridge.serve.refusal import RETRY, Refusal
from mmbridge.serve.work import Work

if TYPE_CHECKING:
    from mmbridge.inference import Model

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Waiting:
    """A question that waits for its answer; nobody waits any more if the answer was cancelled."""

    work: Work
    question: Any
    answer: asyncio.Future[Any]


class Batches:
    """Collects questions and puts them to the model, in the order in which they came, equal work together."""

    def __init__(self, model: "Model", limits: Limits) -> None:
        self.model = model
        self.limits = limits
        self._waiting: list[Waiting] = []
        self._asked = asyncio.Event()

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Answer while the context lasts."""
        with ThreadPoolExecutor(1, "model") as thread:
            answering = asyncio.create_task(self._answer_all(thread))
            try:
                yield
            finally:
                answering.cancel()

    async def ask(self, questions: Sequence[tuple[Work, Any]]) -> list[Any]:
        """Give an answer per question, each with the work that answers it.

        Raises:
            Refusal: too many are waiting, the model cannot do it, or it failed.
        """
        self._forget_the_gone()
        if len(self._waiting) + len(questions) > self.limits.waiting:
            raise Refusal(503, "Too many are waiting for the model; try again.", "overloaded", headers=RETRY)
        futures = [asyncio.get_running_loop().create_future() for _ in questions]
        self._waiting += [Waiting(*question, future) for question, future in zip(questions, futures, strict=True)]
        self._asked.set()
        try:
            return await asyncio.gather(*futures)
        finally:
            for future in futures:
                future.cancel()

    async def _answer_all(self, thread: ThreadPoolExecutor) -> None:
        while True:
            await self._asked.wait()
            await asyncio.sleep(self.limits.gather_seconds)
            while batch := self._take():
                await self._answer(batch, thread)
            self._asked.clear()

    def _take(self) -> list[Waiting]:
        self._forget_the_gone()
        batch = [one for one in self._waiting if one.work == self._waiting[0].work][: self.limits.batch]
        taken = set(batch)
        self._waiting = [one for one in self._waiting if one not in taken]
        return batch

    def _forget_the_gone(self) -> None:
        self._waiting = [one for one in self._waiting if not one.answer.done()]

    async def _answer(self, batch: Sequence[Waiting], thread: ThreadPoolExecutor) -> None:
        call = (batch[0].work, self.model, [one.question for one in batch])
        try:
            answers = await asyncio.get_running_loop().run_in_executor(thread, *call)
            for one, answer in list(zip(batch, answers, strict=True)):
                if not one.answer.done():
                    one.answer.set_result(answer)
        except Exception as error:
            if len(batch) > 1:  # the fault of one of them, most likely: the others are not to suffer for it
                for one in batch:
                    await self._answer([one], thread)
            elif not batch[0].answer.done():
                batch[0].answer.set_exception(_refusal_of(error))


def _refusal_of(error: Exception) -> Refusal:
    if isinstance(error, UserError):
        return Refusal(400, error.what, "cannot_answer")
    log.error("the model failed on a question", exc_info=error)
    return Refusal(500, "The model failed on this question.", "model_failed")

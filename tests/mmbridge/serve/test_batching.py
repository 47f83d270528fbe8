"""What several ask at once is answered in one call, and one who errs, leaves or waits harms no other."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest
from mmbridge_registry import Generation
from toys.served import Looker, asked, encoded

from mmbridge.serve.batching import Batches
from mmbridge.serve.limits import Limits
from mmbridge.serve.refusal import Refusal
from mmbridge.serve.work import Completion, ImageEmbedding, TextEmbedding

CHAT = "/v1/chat/completions"
SHORT, LONG = Completion(Generation(max_new_tokens=5)), Completion(Generation(max_new_tokens=50))


def colour(number):
    return f"#{number:06x}"


def question(number, words="x"):
    return [encoded(colour(number))], words


def ask_all(model, *requests, limits=Limits()):
    """Ask at the same moment, each request for itself; give what each got or heard."""

    async def ask():
        batches = Batches(model, limits)
        async with batches.answering():
            return await asyncio.gather(*(batches.ask(request) for request in requests), return_exceptions=True)

    return asyncio.run(ask())


def test_equal_settings_go_together_and_everyone_gets_their_own():
    model = Looker()
    requests = [[(SHORT if number % 3 else LONG, question(number))] for number in range(30)]
    assert ask_all(model, *requests) == [[f"{colour(number)}|x"] for number in range(30)]
    assert sorted(model.calls) == sorted([(10, LONG.generation), (20, SHORT.generation)])


def test_a_batch_has_a_limit_and_order_is_kept():
    model = Looker()
    ask_all(model, *[[(SHORT, question(number))] for number in range(20)], limits=Limits(batch=8))
    assert [count for count, _ in model.calls] == [8, 8, 4]


def test_one_request_may_ask_different_things():
    texts, images = [(TextEmbedding(), "a")] * 2, [(ImageEmbedding(), encoded("red"))]
    ((first, image, second),) = ask_all(Looker(), [texts[0], *images, texts[1]])
    assert first == second != image and sum(x * x for x in image) == pytest.approx(1)


@pytest.mark.parametrize(("words", "status", "said"), [("explode", 500, "failed"), ("mistake", 400, "longer")])
def test_who_makes_a_batch_fail_fails_alone(caplog, words, status, said):
    model = Looker()
    one, failed, *fine = ask_all(
        model,
        [(SHORT, question(1))],
        [(SHORT, question(2, words))],
        [(SHORT, question(3))],
        [(LONG, question(4))],
    )
    assert [one, *fine] == [["#000001|x"], ["#000003|x"], ["#000004|x"]]
    assert isinstance(failed, Refusal) and failed.status == status and said in failed.message
    assert "passwd" not in failed.message and "secret" not in failed.message
    assert ("secret path" in caplog.text) == (status == 500)  # the log is where the cause of a failure belongs
    assert [count for count, _ in model.calls] == [3, 1, 1, 1, 1]


def test_a_model_that_loses_an_answer_has_failed():
    model = Looker()
    model.complete = lambda images, prompts, generation: ["x"] * (len(prompts) - 1)
    heard = ask_all(model, *[[(SHORT, question(1))]] * 3)
    assert [one.status for one in heard] == [500] * 3


def test_more_than_may_wait_are_told_to_come_again():
    heard = ask_all(Looker(), *[[(SHORT, question(number))] for number in range(9)], limits=Limits(waiting=5))
    assert [one for one in heard if isinstance(one, list)] == [[f"{colour(number)}|x"] for number in range(5)]
    assert {(one.status, one.headers["Retry-After"]) for one in heard[5:]} == {(503, "1")}


def test_who_leaves_is_not_answered_and_makes_room():
    model = Looker(seconds=0.1)

    async def ask():
        batches = Batches(model, Limits(waiting=2, batch=1))
        async with batches.answering():
            first = asyncio.create_task(batches.ask([(SHORT, question(1))]))
            await asyncio.sleep(0.05)  # the model is at the first
            gone = [asyncio.create_task(batches.ask([(SHORT, question(n))])) for n in (2, 3)]
            await asyncio.sleep(0)
            for one in gone:
                one.cancel()
            await asyncio.sleep(0)
            return await first, await batches.ask([(SHORT, question(4))]), await batches.ask([(SHORT, question(5))])

    assert asyncio.run(ask()) == (["#000001|x"], ["#000004|x"], ["#000005|x"])
    assert len(model.calls) == 3


def test_a_client_that_hangs_up_is_forgotten(serving):
    """Straight through the application: the second of two waiting clients disconnects."""
    model = Looker(seconds=0.2)
    from json import dumps

    from mmbridge.serve.app import build_app

    async def request(app, number, leaves_after=None):
        body = dumps(asked("x", colour(number))).encode()
        sent, told = [], [{"type": "http.request", "body": body, "more_body": False}]

        async def receive():
            if told:
                return told.pop()
            await asyncio.sleep(leaves_after or 60)
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers, "query_string": b""}
        await app(scope, receive, send)
        return sent[0]["status"]

    async def main():
        app = build_app(model, "looker", Limits(batch=1))
        async with app.router.lifespan_context(app):
            tasks = [asyncio.create_task(request(app, 1))]
            await asyncio.sleep(0.1)
            tasks += [asyncio.create_task(request(app, 2, leaves_after=0.01)), asyncio.create_task(request(app, 3))]
            return await asyncio.gather(*tasks)

    first, _, third = asyncio.run(main())
    assert first == third == 200 and len(model.calls) == 2


def test_other_routes_answer_while_the_model_works(serving):
    with serving(Looker(seconds=1)) as client, ThreadPoolExecutor(1) as thread:
        slow = thread.submit(client.post, CHAT, json=asked("x", "red"))
        start = monotonic()
        assert client.get("/healthz").status_code == 200 and monotonic() - start < 0.5
        assert not slow.done() and slow.result().status_code == 200


def test_one_bad_image_fails_its_own_request(serving):
    model = Looker(seconds=0.05)
    with serving(model) as client, ThreadPoolExecutor(12) as threads:
        bodies = [asked("x", b"broken" if number % 4 == 0 else colour(number)) for number in range(24)]
        done = list(threads.map(lambda body: client.post(CHAT, json=body), bodies))
    for number, one in enumerate(done):
        assert one.status_code == (200 if number % 4 else 400)
        assert one.status_code == 400 or one.json()["choices"][0]["message"]["content"].startswith(colour(number))
    assert sum(count for count, _ in model.calls) == 18 and len(model.calls) < 18


def test_bodies_held_at_once_have_a_limit(serving):
    body = asked("x", encoded("red", (100, 100), "BMP"))
    with serving(Looker(seconds=0.5), Limits(held_bytes=100_000)) as client, ThreadPoolExecutor(6) as threads:
        statuses = list(threads.map(lambda _: client.post(CHAT, json=body).status_code, range(6)))
        assert sorted(statuses) == [200, 200, 503, 503, 503, 503]
        assert client.post(CHAT, json=body).status_code == 200

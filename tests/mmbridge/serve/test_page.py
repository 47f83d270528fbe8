"""The page in a real browser: drop an image, ask, read the answer; on a phone and on a desk, by light and by night."""

import os
import shutil
from base64 import b64encode
from pathlib import Path

import pytest
from toys.served import encoded

PHONE, DESK = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
SCREENSHOTS = os.environ.get("MMBRIDGE_SCREENSHOTS")
"""A folder to keep pictures of the page in, for those who want to look at it."""
DROP = """
async ([data, type]) => {
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "image", { type }));
  const target = document.getElementById("well");
  for (const name of ["dragover", "drop"]) {
    target.dispatchEvent(new DragEvent(name, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}
"""
PASTE = """
async ([data, type]) => {
  const bytes = Uint8Array.from(atob(data), (one) => one.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], "image", { type }));
  document.dispatchEvent(new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true }));
}
"""


@pytest.fixture(scope="module")
def browser():
    """Give a headless Chromium: the system's, or playwright's own."""
    playwright = pytest.importorskip("playwright.sync_api")
    system = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as running:
        if system is None and not Path(running.chromium.executable_path).exists():
            pytest.skip("there is no Chromium: install one, or run `playwright install chromium`")
        browser = running.chromium.launch(executable_path=system, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(browser):
    """Give a function that opens the page; fails if the page asks anyone else for anything or logs an error."""
    contexts, strangers, errors = [], [], []

    def open_page(port, size=DESK, scheme="light", **more):
        context = browser.new_context(viewport=size, color_scheme=scheme, has_touch=size is PHONE, **more)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(10_000)
        own = (f"http://127.0.0.1:{port}/", "data:", "blob:")
        page.on("request", lambda request: request.url.startswith(own) or strangers.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: "Security Policy" in message.text and errors.append(message.text))
        page.goto(own[0])
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert strangers == [] and errors == []


def drop(page, content, kind="image/png", how=DROP):
    page.evaluate(how, [b64encode(content).decode(), kind])


def keep(page, name):
    """Keep a picture of the page; it fits its window at every width."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    if SCREENSHOTS:
        page.screenshot(path=Path(SCREENSHOTS, f"{name}.png"), full_page=True)


@pytest.mark.parametrize(("size", "name"), [(PHONE, "phone"), (DESK, "desk")])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_image_is_dropped_and_asked_about(port, visit, size, name, scheme):
    page = visit(port, size, scheme)
    page.get_by_text("looker").wait_for()
    ask = page.locator("button")
    assert ask.is_disabled()
    keep(page, f"{name}-{scheme}-empty")
    drop(page, encoded("#3366cc", (48, 32)))
    page.get_by_role("img", name="The image").wait_for()
    assert ask.inner_text() == "Describe"
    ask.click()
    page.get_by_text("#3366cc|", exact=True).wait_for()
    page.get_by_label("Question", exact=True).fill("What colour is it?")
    assert ask.inner_text() == "Ask"
    page.keyboard.press("Enter")
    page.get_by_text("#3366cc|Question: what colour is it? Answer:").wait_for()
    assert page.get_by_role("listitem").count() == 2
    keep(page, f"{name}-{scheme}-answered")
    if size is PHONE:  # fingers need room
        assert ask.bounding_box()["height"] >= 44


def test_images_are_chosen_and_pasted(port, visit, tmp_path):
    page = visit(port)
    (tmp_path / "blue.png").write_bytes(encoded("#0000ff"))
    page.get_by_label("Choose an image", exact=True).set_input_files(tmp_path / "blue.png")
    page.get_by_role("button", name="Describe").click()
    page.get_by_text("#0000ff|", exact=True).wait_for()
    drop(page, encoded("#00ff00"), how=PASTE)
    page.get_by_text("#0000ff|").wait_for(state="detached")  # answers about another image go with it
    page.get_by_role("button", name="Describe").click()
    page.get_by_text("#00ff00|", exact=True).wait_for()


def test_a_photograph_is_sent_small_and_upright(port, visit):
    """A large JPEG on its side (EXIF) arrives as it is shown: its red top is at the top."""
    from io import BytesIO

    from PIL import Image

    lying, file = Image.new("RGB", (3000, 2000), "blue"), BytesIO()
    lying.paste("red", (0, 0, 1000, 2000))  # what is left becomes the top
    lying.getexif()[0x0112] = 6
    lying.save(file, "JPEG", exif=lying.getexif())
    page = visit(port)
    drop(page, file.getvalue(), "image/jpeg")
    page.get_by_role("img", name="The image").wait_for()
    with page.expect_request("**/chat/completions") as sent:
        page.get_by_role("button", name="Describe").click()
    page.get_by_text("|", exact=False).first.wait_for()
    size = page.evaluate("(({ naturalWidth, naturalHeight }) => [naturalWidth, naturalHeight])(picture)")
    assert size == [683, 1024] and len(sent.value.post_data) < 300_000
    red, green, blue = (
        int(page.get_by_role("listitem").inner_text().split("#")[1][at : at + 2], 16) for at in (0, 2, 4)
    )
    assert red > 240 and green < 20 and blue < 20


def test_what_is_no_image_is_said_to_be_none(port, visit):
    page = visit(port)
    drop(page, b"hello", "text/plain")
    page.get_by_role("alert").get_by_text("no image").wait_for()
    drop(page, b"hello", "image/png")
    page.get_by_role("alert").get_by_text("cannot read").wait_for()
    assert page.locator("button").is_disabled()
    keep(page, "no-image")


def test_what_fails_is_said_and_can_be_asked_again(port, visit):
    page = visit(port)
    drop(page, encoded("red"))
    page.get_by_label("Question", exact=True).fill("please explode")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_role("alert").get_by_text("failed").wait_for()
    page.get_by_label("Question", exact=True).fill("<b>bold</b>?")
    page.get_by_role("button", name="Ask", exact=True).click()
    page.get_by_text("#ff0000|Question: <b>bold</b>? Answer:").wait_for()  # words, never markup
    assert page.get_by_role("alert").is_hidden()


def test_the_token_is_asked_for(new_server, visit):
    with new_server(token="open sesame") as (_, port):
        page = visit(port, PHONE)
        page.get_by_label("Token").wait_for()
        keep(page, "token")
        page.get_by_label("Token").fill("open sesame")
        page.get_by_label("Token").press("Tab")
        page.get_by_text("looker").wait_for()
        drop(page, encoded("red"))
        page.get_by_role("button", name="Describe").click()
        page.get_by_text("#ff0000|", exact=True).wait_for()


def test_the_page_is_used_by_keyboard_alone(port, visit, tmp_path):
    page = visit(port)
    (tmp_path / "red.png").write_bytes(encoded("red"))
    page.on("filechooser", lambda chooser: chooser.set_files(tmp_path / "red.png"))
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    page.keyboard.press("Enter")
    page.get_by_role("img", name="The image").wait_for()
    page.keyboard.type("what?")
    page.keyboard.press("Enter")
    page.get_by_text("#ff0000|Question: what? Answer:").wait_for()

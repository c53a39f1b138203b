"""The page in a real browser: playing the clip, ordering by keys and dragging, saving."""

import contextlib
import threading

import pytest
from clips import write_clip
from people_groups import make_request, rows, saved

from orl_jax.oracles.people.orders import Orders
from orl_jax.oracles.people.server import Server
from orl_jax.oracles.people.session import Session

# Keys, as WebDriver numbers them.
ENTER, BACKSPACE, LEFT, UP, DOWN = "\ue007", "\ue003", "\ue012", "\ue013", "\ue015"
FORGED = "<img src=x onerror=\"document.title='forged'\"><b>bold</b>"


@pytest.fixture
def serve(tmp_path, output):
    """Serves groups to a person."""
    requests = [make_request(number) for number in range(4)]
    for number in (0, 1, 3):
        write_clip(tmp_path / f"videos/{number}.mp4", 32, size=(64, 64))

    @contextlib.contextmanager
    def serve(port=0, requests=requests, **options):
        session = Session(requests, Orders(output, "anna"), **options)
        with Server("127.0.0.1", port, session, str(tmp_path)) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield server
            finally:
                server.shutdown()
                thread.join()
                session.close()

    return serve


@pytest.fixture
def person(anyone, serve):
    """A person at the first group."""
    with serve() as server:
        anyone.browser.get(server.address)
        anyone.wait_for("number 0")
        yield anyone


def test_the_clip_plays_and_can_be_seeked(person):
    person.wait(lambda: person.script("video.currentTime") > 0.3)
    assert person.script("[video.muted, video.loop, video.controls, video.videoWidth]") == [
        True, True, True, 64,
    ]  # fmt: skip
    person.script("video.pause() || (video.currentTime = 3)")
    person.wait(lambda: not person.script("video.seeking"))
    assert person.script("video.currentTime") == 3


def test_number_keys_order_and_enter_saves(person, output):
    person.put("grey", "red", "green")
    assert person.placed == ["grey 1", "red 2", "green 3"]
    person.press(person.number("red"))  # already placed
    person.press(ENTER)  # puts the remaining answer last
    person.wait_for("number 1")
    assert saved(output)["train/0"] == {"grey": 0, "red": 1.5, "green": 3, "blue": 4}
    assert 0 < rows(output)[0]["seconds"] < 60
    assert "1 of 4 done" in person.find("header")[0].text


def test_enter_waits_until_all_are_placed(person, output):
    person.put("grey", "red")
    person.press(ENTER)
    assert person.find("#message")[0].text == "2 answers are not placed yet."
    assert not output.read_bytes()


def test_ties_and_undo(person, output):
    person.put("grey", "red")
    person.press("t")
    assert person.placed == ["grey 1 =", "red 1 ="]
    person.press("t")
    assert person.placed == ["grey 1", "red 2"]
    person.press(BACKSPACE)
    assert person.placed == ["grey 1 =", "red 1 ="]
    person.put("green", "blue")
    person.find(".tie")[-1].click()
    assert person.placed == ["grey 1 =", "red 1 =", "green 3 =", "blue 3 ="]
    person.press(BACKSPACE, BACKSPACE)
    assert person.placed == ["grey 1 =", "red 1 =", "green 3"]
    person.press(*[BACKSPACE] * 9)
    assert person.placed == []
    person.put("blue", "green", "grey", "red")
    person.find(".tie")[0].click()
    person.press(ENTER)  # even after a click on a button
    person.wait_for("number 1")
    assert saved(output)["train/0"] == {"blue": 0.5, "green": 0.5, "grey": 2, "red": 3.5}


@pytest.mark.parametrize("device", ["mouse", "touch"])
def test_dragging_orders(person, output, device):
    person.put("blue")
    person.drag("green", "blue", -15, device)
    assert person.placed == ["green 1", "blue 2"]
    person.drag("red", "blue", -5, device)
    person.drag("grey", "blue", 20, device)
    assert person.placed == ["green 1", "red 2", "blue 3", "grey 4"]
    person.drag("green", "grey", 20, device)
    assert person.placed == ["red 1", "blue 2", "grey 3", "green 4"]
    person.press(ENTER)
    person.wait_for("number 1")
    assert saved(output)["train/0"] == {"red": 0.5, "blue": 2, "grey": 3, "green": 4}


def test_a_tap_places_a_card_and_removing_one_keeps_its_tie(person):
    for text in ("blue", "green", "red"):
        person.card(text).click()
    assert person.placed == ["blue 1", "green 2", "red 3"]
    person.find(".tie")[0].click()
    person.drag("red", "green", -10)  # into the tie
    assert person.placed == ["blue 1 =", "red 1 =", "green 1 ="]
    person.press(BACKSPACE)
    person.drag("blue", "red", 20)
    assert person.placed == ["green 1", "red 2", "blue 3"]
    person.drag("red", "grey", 5)  # back to the cards that are not placed
    assert person.placed == ["green 1", "blue 2"]


def test_the_keyboard_reaches_everything(person):
    person.put("blue", "green", "red")
    red = int(person.number("red")) - 1
    person.script(f"document.querySelector('[data-key=number{red}]').focus()")
    person.press(UP, UP)
    assert person.placed == ["red 1", "blue 2", "green 3"]
    person.press(DOWN)
    assert person.placed == ["blue 1", "red 2", "green 3"]
    person.script("document.querySelector('.tie').focus()")
    person.press(ENTER)
    assert person.placed == ["blue 1 =", "red 1 =", "green 3"]


def test_a_reload_keeps_the_group_and_the_unsaved_order(person):
    person.put("blue", "green", "red", "grey")
    person.press(ENTER)
    person.wait_for("number 1")
    person.put("grey", "blue")
    person.press("t")
    person.browser.refresh()
    person.wait_for("number 1")
    assert person.placed == ["grey 1 =", "blue 1 ="]


def test_back_corrects_and_skip_skips(person, output):
    person.put("blue", "green", "red", "grey")
    person.press(ENTER)
    person.wait_for("number 1")
    person.press("s")
    person.wait_for("number 2")
    person.press(LEFT)
    person.wait_for("number 1")
    assert person.find("#state")[0].text.endswith("skipped")
    person.press(LEFT)
    person.wait_for("number 0")
    assert person.placed == ["blue 1", "green 2", "red 3", "grey 4"]
    person.drag("grey", "blue", -15)
    person.press(ENTER)
    person.wait_for("number 2")
    assert saved(output)["train/0"] == {"grey": 0, "blue": 1, "green": 2, "red": 3.5}
    skipped = [row for row in rows(output) if row["prompt_id"] == "train/1"]
    assert [(row["valid"], row["reason"]) for row in skipped] == [(False, "skipped by anna")]


def test_a_missing_clip_is_named_and_the_last_page_appears(person, output):
    for number in range(4):
        person.wait_for(f"number {number}")
        notice = person.find("#no_video")[0]
        assert notice.is_displayed() == (number == 2)
        if notice.is_displayed():
            assert "There is no file" in notice.text and "2.mp4" in notice.text
        person.put("blue", "green", "red", "grey")
        person.press(ENTER)
    person.wait_for("All done")
    assert str(output) in person.find("#summary")[0].text
    person.press(LEFT)
    person.wait_for("number 3")


def test_an_order_survives_the_end_of_the_server(anyone, script, output):
    process, page = script()
    anyone.browser.get(f"http://127.0.0.1:{page.port}")
    anyone.wait_for("number 0")
    anyone.put("blue", "green", "red", "grey")
    process.kill()
    process.wait()
    anyone.press(ENTER)
    anyone.wait(lambda: "does not answer" in anyone.find("#message")[0].text)
    assert f"--port={page.port}" in anyone.find("#message")[0].text
    assert anyone.placed == ["blue 1", "green 2", "red 3", "grey 4"]
    script(f"--port={page.port}")
    anyone.press(ENTER)
    anyone.wait_for("number 1")
    assert saved(output)["train/0"]["blue"] == 0


def test_answers_are_shown_as_text_only(anyone, serve):
    person, browser = anyone, anyone.browser
    odd = make_request(0, (FORGED, "  ", "two\nlines"), question=FORGED, task_type=FORGED)
    with serve(requests=[odd]) as server:
        browser.get_log("browser")
        browser.get(server.address)
        person.wait_for("<img")
        assert sorted(person.text(card) for card in person.find(".card")) == [
            "(an empty answer)", FORGED, "two\nlines",
        ]  # fmt: skip
        assert browser.title == "Rank by hand" and not person.find("img, h1 b, .card b")
        # The page does not violate its own policy.
        assert not [e for e in browser.get_log("browser") if "Content Security" in e["message"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_narrow_window_in_light_and_dark(anyone, serve, theme):
    person, browser = anyone, anyone.browser
    media = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    screen = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    long = make_request(0, ("word " * 60, "x" * 200, "short"), question="Why? " * 30)
    with serve(requests=[long]) as server:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        try:
            browser.get(server.address)
            person.wait_for("Why?")
            person.press("12t3")
            assert person.script("document.documentElement.scrollWidth") <= 400
            colour = person.script("getComputedStyle(document.body).backgroundColor")
            assert (colour == "rgb(19, 22, 25)") == (theme == "dark")
        finally:
            browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
            browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})

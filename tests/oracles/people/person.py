"""A person at a real browser, for the tests of the page."""

import pathlib

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

SWITCHES = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --window-size=1100,900"
).split()
SECONDS = 20  # to wait at most; the machine may be busy


def start_browser(program: str, driver: str, profile: pathlib.Path) -> webdriver.Chrome:
    """A headless Chromium with a profile of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for switch in [*SWITCHES, f"--user-data-dir={profile}"]:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(driver))


class Person:
    """What a person does on the page, and what they see."""

    def __init__(self, browser):
        self.browser = browser

    def find(self, selector):
        return self.browser.find_elements(By.CSS_SELECTOR, selector)

    def wait(self, condition):
        WebDriverWait(self.browser, SECONDS, 0.05).until(lambda _: condition())

    def wait_for(self, title):
        """Waits for a group, by a part of its question, or for the last page."""
        self.wait(lambda: any(title in e.text for e in self.find("h1") if e.is_displayed()))

    def press(self, *keys):
        ActionChains(self.browser).send_keys(*keys).perform()

    def number(self, text):
        """The number on the card with this text."""
        (card,) = [card for card in self.find(".card") if self.text(card) == text]
        return card.find_element(By.CSS_SELECTOR, ".number").text

    def put(self, *texts):
        self.press(*(self.number(text) for text in texts))

    def card(self, text):
        return next(card for card in self.find(".card") if self.text(card) == text)

    def drag(self, text, onto, dy, device="mouse"):
        """Drags a card (by touch: its grip) to `dy` pixels below the middle of another."""
        source = self.card(text)
        if device == "touch":
            source = source.find_element(By.CSS_SELECTOR, ".grip")
        pointer = ActionBuilder(self.browser, mouse=PointerInput(device, device))
        action = pointer.pointer_action
        action.move_to(source).pointer_down()
        action.move_to(source, 0, 10)
        action.move_to(self.card(onto), 0, dy).pointer_up()
        pointer.perform()

    def text(self, card):
        return card.find_element(By.CSS_SELECTOR, ".text").text

    @property
    def placed(self):
        """Texts with their places, such as "red 1 =" ."""
        cards = self.find("#placed .card")
        return [
            f"{self.text(card)} {card.find_element(By.CSS_SELECTOR, '.place').text}"
            for card in cards
        ]

    def script(self, code):
        return self.browser.execute_script(f"return {code}")

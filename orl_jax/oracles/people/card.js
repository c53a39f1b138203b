// The card of an answer. Whatever an answer holds is shown as text.

function make(tag, name, text = "") {
  const element = document.createElement(tag);
  element.className = name;
  element.textContent = text;
  return element;
}

// An answer that is not placed yet. group: see `Session.view`; card: its index there.
export function bareCard(group, card) {
  const element = make("li", "card");
  element.dataset.card = card;
  const number = make("button", "number", card + 1);
  number.type = "button";
  number.dataset.key = `number${card}`;
  number.setAttribute("aria-label", `Answer ${card + 1}`);
  const text = make("span", "text", group.texts[card]);
  if (!group.texts[card].trim()) {
    text.textContent = "(an empty answer)";
    text.classList.add("none");
  }
  if (group.cut[card]) text.append(make("span", "cut", "cut off at the length limit"));
  element.append(number, text, make("span", "grip"));
  return element;
}

// An answer with its place; `places` are the places of all placed answers.
export function placedCard(group, { card, tied }, index, places) {
  const element = bareCard(group, card);
  const shared = places.filter((place) => place === places[index]).length > 1;
  element.querySelector(".text").after(make("span", "place", `${places[index]}${shared ? " =" : ""}`));
  element.classList.toggle("tied", tied);
  if (index > 0) {
    const tie = make("button", "tie", "=");
    tie.type = "button";
    tie.dataset.key = `tie${card}`;
    tie.title = "Tie these two answers";
    tie.setAttribute("aria-label", `Answer ${card + 1} is as good as the one above it`);
    tie.setAttribute("aria-pressed", tied);
    element.append(tie);
  }
  return element;
}

// Dragging cards by mouse, pen and touch. A finger drags by the grip and scrolls elsewhere.

const FAR_ENOUGH = 5; // pixels of movement that make a press a drag

// area: contains the lists. drop(card, index) gets a card's new place; index -1 is "not placed".
export function makeDraggable(area, placed, rest, drop) {
  let drag = null;
  let justDragged = false;

  area.addEventListener("pointerdown", (event) => {
    const element = event.target.closest(".card");
    const byHandle = event.pointerType === "mouse" || event.target.closest(".grip");
    if (drag || !element || !byHandle || event.button !== 0 || event.target.closest("button")) return;
    drag = { element, pointer: event.pointerId, x: event.clientX, y: event.clientY, scroll: scrollY, marker: null };
  });

  addEventListener("pointermove", (event) => {
    if (!drag || event.pointerId !== drag.pointer) return;
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    if (!drag.marker && Math.hypot(dx, dy) < FAR_ENOUGH) return;
    if (!drag.marker) begin();
    drag.element.style.transform = `translate(${dx}px, ${dy + scrollY - drag.scroll}px)`;
    drag.index = indexAt(event.clientY);
    mark(drag.index);
    scrollAtEdge(event.clientY);
  });

  addEventListener("pointerup", (event) => end(event, true));
  addEventListener("pointercancel", (event) => end(event, false));
  // A drag ends with a click on the card, which must not count as a tap.
  area.addEventListener("click", (event) => { if (event.detail && justDragged) event.stopPropagation(); }, true);

  function begin() {
    drag.marker = document.createElement("li");
    drag.marker.className = "marker";
    drag.element.classList.add("dragged");
    drag.element.setPointerCapture(drag.pointer);
  }

  function end(event, dropped) {
    if (!drag || event.pointerId !== drag.pointer) return;
    const { element, marker, index } = drag;
    drag = null;
    if (!marker) return;
    marker.remove();
    element.classList.remove("dragged");
    element.style.transform = "";
    justDragged = true;
    setTimeout(() => { justDragged = false; });
    if (dropped) drop(Number(element.dataset.card), index);
  }

  function others() {
    return [...placed.querySelectorAll(".card")].filter((card) => card !== drag.element);
  }

  function indexAt(y) {
    if (!rest.hidden && y > rest.getBoundingClientRect().top) return -1;
    const middles = others().map((card) => card.getBoundingClientRect()).map((box) => box.top + box.height / 2);
    return middles.filter((middle) => middle < y).length;
  }

  function mark(index) {
    if (index < 0) return rest.append(drag.marker);
    placed.insertBefore(drag.marker, others()[index] ?? null);
  }

  function scrollAtEdge(y) {
    const edge = 40;
    if (y < edge) scrollBy(0, -12);
    if (y > innerHeight - edge) scrollBy(0, 12);
  }
}

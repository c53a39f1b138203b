// The page: shows a group, handles keys and pointers, sends the order. Answers are text, never markup.

import { bareCard, placedCard } from "./card.js";
import { makeDraggable } from "./drag.js";
import { isOrder, Order } from "./order.js";

const $ = (id) => document.getElementById(id);
let group = null; // the server's last reply; `place` is null when all are done
let order = null;
let busy = false; // a request is pending
let seconds = 0; // for which the group has been on the screen
let since = null; // when it last appeared there

// --- the server ---

async function ask(path, body) {
  const options = body && {
    method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  };
  let reply, answer;
  try {
    reply = await fetch(path, options);
    answer = await reply.json();
  } catch {
    throw new Error(
      `The server does not answer. This order is kept in the browser: start the same command ` +
      `again with --port=${location.port}, then save again.`);
  }
  if (!reply.ok) throw new Error(answer.error);
  return answer;
}

async function go(path, body) {
  if (busy) return;
  busy = true;
  try {
    const answer = await ask(path, body);
    if (body && !body.skip) forget();
    show(answer);
  } catch (error) {
    if (group) say(error.message, true);
    else { $("failure").textContent = error.message; $("failure").hidden = false; }
  } finally {
    busy = false;
  }
}

function save() {
  if (order.rest.length === 1) place(order.rest[0]); // it can only come last
  if (!order.complete) return say(`${order.rest.length} answers are not placed yet.`, true);
  go(`groups/${group.place}`, { order: order.tiers, seconds: spent() });
}

const skip = () => go(`groups/${group.place}`, { skip: true, seconds: spent() });

function back() {
  const place = (group.place ?? group.total) - 1;
  if (place >= 0) go(`groups/${place}`);
}

function forward() {
  if (group.place !== null) go(group.place + 1 < group.total ? `groups/${group.place + 1}` : "groups/next");
}

// --- drafts: an unsaved order survives a reload ---

const draftName = () => `rank by hand ${group.id}`;

function keep() {
  try { localStorage.setItem(draftName(), JSON.stringify(order.tiers)); } catch { /* no storage */ }
}

function forget() {
  try { localStorage.removeItem(draftName()); } catch { /* no storage */ }
}

function draft() {
  try {
    const tiers = JSON.parse(localStorage.getItem(draftName()));
    return isOrder(tiers, group.texts.length) ? tiers : null;
  } catch { return null; }
}

// --- time on the screen ---

function spent() {
  if (since !== null) seconds += (performance.now() - since) / 1000;
  since = document.hidden ? null : performance.now();
  return Math.round(seconds * 100) / 100;
}

document.addEventListener("visibilitychange", spent);

// --- showing ---

function show(answer) {
  group = answer;
  seconds = 0;
  since = document.hidden ? null : performance.now();
  showProgress();
  $("failure").hidden = true;
  $("group").hidden = group.place === null;
  $("finished").hidden = group.place !== null;
  if (group.place === null) return showFinished();
  $("type").textContent = group.task_type ?? "";
  $("question").textContent = group.question;
  $("reference").hidden = group.reference === null;
  $("reference").textContent = `Accepted answer: ${group.reference}`;
  const unsaved = draft();
  last = null;
  order = new Order(group.texts.length, unsaved ?? group.order ?? []);
  $("state").textContent = `group ${group.place + 1}` + (group.order ? ", done" : group.skipped ? ", skipped" : "");
  showVideo();
  render();
  say(unsaved ? "This order is not saved yet." : "");
  scrollTo(0, 0);
}

function showProgress() {
  const left = Math.round(group.seconds_left / 60);
  const time = left > 0 ? `about ${left} min left` : "less than a minute left";
  $("done").textContent = `${group.done} of ${group.total}`;
  $("left").textContent = group.seconds_left > 0 ? `done · ${time}` : "done";
  $("ranker").textContent = group.ranker;
  $("bar").max = group.total || 1;
  $("bar").value = group.done;
}

function showFinished() {
  $("video").removeAttribute("src");
  $("video").load();
  const skipped = group.skips ? `, ${group.skips} of them skipped` : "";
  $("summary").textContent = `${group.done} groups are in ${group.output}${skipped}.`;
  $("back_again").disabled = group.total === 0;
}

function showVideo() {
  const missing = group.missing_video && `There is no file ${group.missing_video}.`;
  const reason = group.has_video ? missing : "This group has no clip.";
  lackVideo(reason);
  if (reason) {
    $("video").removeAttribute("src");
    return;
  }
  $("video").src = `videos/${group.place}`;
  $("video").play().catch(() => {}); // the browser may require a click first; there are controls
}

function lackVideo(reason) {
  $("video").hidden = Boolean(reason);
  $("no_video").hidden = !reason;
  $("no_video").textContent = reason && `${reason} Rank by the text, or skip.`;
}

$("video").addEventListener("error", () => {
  if ($("video").hasAttribute("src")) lackVideo("The browser can't play this clip.");
});

function say(text, bad = false) {
  $("message").textContent = text;
  $("message").classList.toggle("bad", bad);
}

function render() {
  const focus = document.activeElement?.dataset.key;
  const places = order.places;
  $("placed").replaceChildren(...order.placed.map((entry, i) => placedCard(group, entry, i, places)));
  $("rest").replaceChildren(...order.rest.map((card) => bareCard(group, card)));
  $("rest").hidden = $("rest_title").hidden = order.complete;
  $("empty").hidden = order.placed.length > 0;
  $("undo").disabled = order.past.length === 0;
  $("back").disabled = group.place === 0;
  if (focus) document.querySelector(`[data-key="${focus}"]`)?.focus();
}

// --- actions ---

let last = null; // the answer placed most recently

function changed() {
  keep();
  render();
  const hints = ["All are placed. Enter saves.", "Enter puts the remaining answer last and saves."];
  say(hints[order.rest.length] ?? "");
}

function place(card) {
  if (card >= order.size || order.indexOf(card) >= 0) return;
  order.place(card);
  last = card;
  changed();
}

function move(card, by) {
  const index = order.indexOf(card);
  if (index < 0 || index + by < 0 || index + by >= order.placed.length) return;
  order.place(card, index + by);
  changed();
}

function tie(index) {
  order.toggleTie(index);
  changed();
}

function tieLast() {
  const index = order.indexOf(last);
  tie(index < 0 ? order.placed.length - 1 : index);
}

function undo() {
  if (order.undo()) changed();
}

makeDraggable($("group"), $("placed"), $("rest"), (card, index) => {
  if (index < 0) order.putBack(card);
  else order.place(card, index);
  last = card;
  changed();
});

$("group").addEventListener("click", (event) => {
  const element = event.target.closest(".card");
  if (event.detail) document.activeElement.blur(); // so that Enter saves after a click
  if (!element || busy) return;
  const card = Number(element.dataset.card);
  if (event.target.closest(".tie")) tie(order.indexOf(card));
  else place(card);
});

for (const [id, act] of Object.entries({ back, undo, skip, save, back_again: back })) {
  $(id).addEventListener("click", () => { if (!busy) act(); });
}

const KEYS = {
  t: tieLast, "=": tieLast, backspace: undo, enter: save, s: skip, arrowleft: back, arrowright: forward,
};

addEventListener("keydown", (event) => {
  const key = event.key.toLowerCase();
  const focused = document.activeElement;
  if (!group || busy || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (key === "enter" && focused.matches("button, summary")) return; // it presses the button
  if (key.startsWith("arrow") && focused.matches("video")) return; // it seeks
  if (group.place === null && key !== "arrowleft") return;
  const moving = key === "arrowup" || key === "arrowdown" ? focused.closest(".card") : null;
  if (moving) move(Number(moving.dataset.card), key === "arrowup" ? -1 : 1);
  else if (/^[1-9]$/.test(key)) place(Number(key) - 1);
  else if (Object.hasOwn(KEYS, key)) KEYS[key]();
  else return;
  event.preventDefault();
});

go("groups/next");

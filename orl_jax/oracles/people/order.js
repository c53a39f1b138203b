// An unfinished order: placed answers, best first, and those that are not placed yet.

export class Order {
  // size: number of answers. tiers: the initial order, in the form of `Order.tiers`.
  constructor(size, tiers = []) {
    this.placed = tiers.flatMap((tier) => tier.map((card, i) => ({ card, tied: i > 0 })));
    const taken = new Set(this.placed.map((entry) => entry.card));
    this.rest = Array.from({ length: size }, (_, card) => card).filter((card) => !taken.has(card));
    this.size = size;
    this.past = [];
  }

  get complete() {
    return this.rest.length === 0;
  }

  // [[2], [0, 1]]: answer 2 is the best; 0 and 1 are tied.
  get tiers() {
    const tiers = [];
    for (const { card, tied } of this.placed) {
      if (tied) tiers.at(-1).push(card);
      else tiers.push([card]);
    }
    return tiers;
  }

  // The place of each placed answer, numbered as in sports: 1, 2, 2, 4.
  get places() {
    let place = 0;
    return this.placed.map(({ tied }, i) => (place = tied ? place : i + 1));
  }

  indexOf(card) {
    return this.placed.findIndex((entry) => entry.card === card);
  }

  // Puts an answer before the one at `index`, which is counted without the answer itself.
  place(card, index = this.placed.length) {
    this.remember();
    this.take(card);
    const within = index < this.placed.length && this.placed[index].tied;
    this.placed.splice(index, 0, { card, tied: within });
  }

  putBack(card) {
    this.remember();
    this.take(card);
    this.rest = [...this.rest, card].sort((a, b) => a - b);
  }

  toggleTie(index) {
    if (index < 1 || index >= this.placed.length) return;
    this.remember();
    this.placed[index].tied = !this.placed[index].tied;
  }

  undo() {
    const before = this.past.pop();
    if (before) [this.placed, this.rest] = before;
    return before !== undefined;
  }

  remember() {
    this.past.push([this.placed.map((entry) => ({ ...entry })), [...this.rest]]);
  }

  take(card) {
    this.rest = this.rest.filter((other) => other !== card);
    const index = this.indexOf(card);
    if (index < 0) return;
    const [removed] = this.placed.splice(index, 1);
    const next = this.placed[index];
    if (next && !removed.tied) next.tied = false; // the first answer of its tie was removed
  }
}

// Whether a stored value is a (possibly partial) order of `size` answers.
export function isOrder(tiers, size) {
  if (!Array.isArray(tiers) || !tiers.every((tier) => Array.isArray(tier) && tier.length)) return false;
  const cards = tiers.flat();
  const known = cards.every((card) => Number.isInteger(card) && card >= 0 && card < size);
  return known && new Set(cards).size === cards.length;
}

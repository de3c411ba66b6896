// A group: who has its connections, who waits, for how long, on which server, and how that was in the last quarter of an hour.

import { Chart } from "./chart.js";
import { attribute, each, make, write } from "./dom.js";
import { level } from "./events.js";
import { Table } from "./table.js";
import { count, many, NONE, percent, rate, seconds } from "./words.js";

const SPAN = 900; // s, that charts show
const INTEGERS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
const CONNECTIONS = [
  { name: "in use", class: "use", colour: "use", fill: "use-fill" },
  { name: "idle", class: "idle", colour: "idle", dash: [2, 3] },
  { name: "waiting", class: "wait", colour: "wait", fill: "wait-fill", dash: [7, 3], width: 2 },
  { name: "limit", class: "limit", colour: "note", width: 1 },
];
const WAIT = [{ name: "p95", class: "p95", colour: "wait", fill: "wait-fill" }];
const PARTS = ["in_use", "cleaning", "opening", "idle", "unopened"];

export class Groups {
  #section;
  #cards = new WeakMap();

  constructor(section) {
    this.#section = section;
    this.list = section.appendChild(make("div"));
  }

  show(stats, history) {
    const begin = ([name]) => {
      const card = new Card(name);
      this.#cards.set(card.element, card);
      return card.element;
    };
    const fill = (element, [name, group]) => this.#cards.get(element).show(group, history.of(name, stats.history), stats);
    each(this.list, Object.entries(stats.groups), ([name]) => name, begin, fill);
    this.#section.hidden = !this.list.children.length;
  }
}

class Card {
  #tiles = make("dl", { class: "tiles" });
  #times = times();
  #servers = servers();
  #charts = [
    new Chart("Connections", CONNECTIONS, { words: count, steps: INTEGERS }),
    new Chart("Wait for a connection", WAIT, { words: seconds }),
  ];

  constructor(name) {
    const figures = make("div", {}, this.#tiles, this.#times.element);
    const charts = make("div", { class: "charts" }, ...this.#charts.map((chart) => chart.element));
    const label = `group ${name}`;
    this.element = make("article", { class: "card group", "aria-label": label }, make("h3", {}, name), figures, charts, this.#servers.element);
  }

  show(group, { times, values }, { at, events }) {
    each(this.#tiles, tiles(group), ([name]) => name, ([name]) => make("div", {}, make("dt", {}, name), make("dd"), make("dd")), tile);
    this.#times.show(["wait", "hold", "statement"].map((name) => [name, group[name]]), ([name]) => name);
    this.#servers.show(Object.entries(group.servers), ([label]) => label);
    const marks = events.map(({ at, kind }) => ({ at, level: level(kind) })).filter((each) => each.at > at - SPAN && each.level !== "note");
    const shown = { range: [at - SPAN, at], marks };
    const [inUse, idle, waiting, wait] = values;
    const limit = times.map(() => group.connection_count);
    this.#charts[0].show(times, [inUse, idle, unlessNone(waiting), limit], { ...shown, top: group.connection_count * 1.05 });
    this.#charts[1].show(times, [wait], { ...shown, top: 0.01 });
  }
}

/** Where nobody ever waited there is no line. */
const unlessNone = (values) => (values.some((value) => value) ? values : values.map(() => null));

/** Name, figure, what stands below it, class. */
function tiles({ in_use, connection_count, idle, waiting, waiting_for, timeouts, errors, opening, cleaning, wait }) {
  const busy = [cleaning && `${cleaning} being cleaned`, opening && `${opening} being opened`].filter(Boolean).join(", ");
  return [
    ["in use", count(in_use), `of ${count(connection_count)}`, in_use && in_use === connection_count ? "warn" : ""],
    ["idle", count(idle), busy, ""],
    ["waiting", count(waiting), waiting ? `the first for ${seconds(waiting_for)}` : "nobody", waiting ? "bad" : ""],
    ["timeouts", count(timeouts), errors ? `${many(errors, "error")}` : "since the start", ""],
    ["checkouts", rate(wait.rate), "last minute", ""],
  ];
}

function tile(element, [, figure, below, style]) {
  attribute(element, "class", style);
  write(element.children[1], figure);
  write(element.children[2], below);
}

function times() {
  const time = (head, key) => ({ head, class: "number", fill: (cell, [, figures]) => write(cell, seconds(figures[key])) });
  return new Table("Durations in the last minute, and the longest since the start", [
    { head: "of", fill: (cell, [name]) => write(cell, name) },
    time("p50", "p50"),
    time("p95", "p95"),
    time("p99", "p99"),
    time("longest", "longest"),
  ], "times");
}

function servers() {
  const number = (head, words) => ({ head, class: "number", fill: (cell, [, server]) => write(cell, words(server)) });
  return new Table("By server", [
    { head: "server", fill: (cell, [label]) => write(cell, label) },
    { head: "connections", class: "wide", fill: (cell, [, server]) => bar(cell, server) },
    number("in use", (server) => `${count(server.in_use)} of ${count(server.connection_count)}`),
    number("idle", (server) => count(server.idle)),
    number("checkouts", (server) => rate(server.hold.rate)),
    number("for reading", (server) => (server.checkouts ? percent(server.reads / server.checkouts) : NONE)),
    number("hold p95", (server) => seconds(server.hold.p95)),
    number("statement p95", (server) => seconds(server.statement.p95)),
  ], "by-server cards");
}

/** The numbers beside it say the same. */
function bar(cell, server) {
  const { connection_count: all, in_use, cleaning, opening, idle } = server;
  const parts = { in_use, cleaning, opening, idle, unopened: Math.max(0, all - in_use - cleaning - opening - idle) };
  if (!cell.firstChild) {
    cell.append(make("div", { class: "bar", "aria-hidden": "true" }, ...PARTS.map((part) => make("i", { class: part }))));
  }
  PARTS.forEach((part, number) => {
    cell.firstChild.children[number].style.flexGrow = parts[part];
  });
}

// A group: who has its connections, who waits, for how long, on which server, and how that was lately.

import { Chart } from "./chart.js";
import { attribute, each, make, write } from "./dom.js";
import { level } from "./events.js";
import { spread } from "./spread.js";
import { Table } from "./table.js";
import { count, many, rate, seconds } from "./words.js";

const INTEGERS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];
const CONNECTIONS = [
    { name: "in use", class: "use", colour: "use", fill: "use-fill" },
    { name: "idle", class: "idle", colour: "idle", dash: [2, 3] },
    { name: "waiting", class: "wait", colour: "wait", fill: "wait-fill", dash: [7, 3], width: 2, busy: true },
    { name: "limit", class: "limit", colour: "note", width: 1 },
];
const WAIT = [{ name: "p95", class: "p95", colour: "wait", fill: "wait-fill" }];

const time = (head, key) => ({ head, class: "number", of: ([, figures]) => seconds(figures[key]) });

const TIMES = [
    { head: "of", of: ([name]) => name },
    time("p50", "p50"),
    time("p95", "p95"),
    time("p99", "p99"),
    time("longest", "longest"),
];

export class Groups {
    #section;
    #list = make("div");
    #cards = new WeakMap(); // by element

    constructor(section) {
        this.#section = section;
        section.append(this.#list);
    }

    show(stats, history) {
        const fill = (element, [name, group]) => this.#cards.get(element).show(group, history.of(name, stats), stats);
        each(
            this.#list,
            Object.entries(stats.groups),
            ([name]) => name,
            ([name]) => this.#begin(name),
            fill,
        );
        this.#section.hidden = !this.#list.children.length;
    }

    #begin(name) {
        const card = new Card(name);
        this.#cards.set(card.element, card);
        return card.element;
    }
}

class Card {
    #tiles = make("dl", { class: "tiles" });
    #times = new Table("Durations in the last minute, and the longest since the start", TIMES, "times");
    #spread = spread();
    #charts = [
        new Chart("Connections", CONNECTIONS, { words: count, steps: INTEGERS }),
        new Chart("Wait for a connection", WAIT, { words: seconds }),
    ];

    constructor(name) {
        this.element = make(
            "article",
            { class: "card group", "aria-label": `group ${name}` },
            make("h3", {}, name),
            make("div", {}, this.#tiles, this.#times.element),
            make("div", { class: "charts" }, ...this.#charts.map((chart) => chart.element)),
            this.#spread.element,
        );
    }

    show(group, { times, range, values }, { events }) {
        each(this.#tiles, tiles(group), ([name]) => name, beginTile, fillTile);
        this.#times.show(
            ["wait", "hold", "statement"].map((name) => [name, group[name]]),
            ([name]) => name,
        );
        this.#spread.show(Object.entries(group.servers), ([label]) => label);
        const marks = events.map(({ at, kind }) => ({ at, level: level(kind) }));
        const shown = { range, marks: marks.filter((mark) => mark.at > range[0] && mark.level !== "note") };
        const [inUse, idle, waiting, wait] = values;
        const limit = times.map(() => group.connection_count);
        const [connections, waits] = this.#charts;
        connections.show(times, [inUse, idle, waiting, limit], {
            ...shown,
            top: group.connection_count * 1.05,
        });
        waits.show(times, [wait], { ...shown, top: 0.01 });
    }
}

/** Name, figure, what stands below it, class. */
function tiles({ in_use, connection_count, idle, waiting, waiting_for, timeouts, errors, opening, cleaning, hold }) {
    const busy = [cleaning && `${cleaning} being cleaned`, opening && `${opening} being opened`]
        .filter(Boolean)
        .join(", ");
    return [
        ["in use", count(in_use), `of ${count(connection_count)}`, in_use && in_use === connection_count ? "warn" : ""],
        ["idle", count(idle), busy, ""],
        ["waiting", count(waiting), waiting ? `the first for ${seconds(waiting_for)}` : "nobody", waiting ? "bad" : ""],
        ["timeouts", count(timeouts), errors ? `${many(errors, "error")}` : "since the start", ""],
        ["checkouts", rate(hold.rate), "last minute", ""],
    ];
}

const beginTile = ([name]) => make("div", {}, make("dt", {}, name), make("dd"), make("dd"));

function fillTile(element, [, figure, below, style]) {
    attribute(element, "class", style);
    write(element.children[1], figure);
    write(element.children[2], below);
}

// The time line: what happened to servers, groups and workers, the newest first.

import { attribute, each, make, write } from "./dom.js";
import { age, clock, many } from "./words.js";

const SHOWN = 100;
const LEVELS = {
    down: "bad",
    silent: "bad",
    cluster: "warn",
    hold: "warn",
    "taken back": "warn",
    advice: "warn",
    back: "good",
    promotion: "good",
};

export const level = (kind) => LEVELS[kind] ?? "note";

export class Events {
    #list = make("ol", { class: "card", tabindex: "0", role: "list", "aria-label": "Events, the newest first" });
    #none = make("p", { class: "card soft" }, "Nothing has happened yet.");

    constructor(section) {
        section.append(this.#list, this.#none);
    }

    show({ events, at }) {
        const newest = events.slice(-SHOWN).reverse();
        const key = (event) => `${event.at} ${event.kind} ${event.about} ${event.text}`;
        each(this.#list, newest, key, begin, (item, event) => fill(item, event, at));
        this.#list.hidden = !newest.length;
        this.#none.hidden = newest.length > 0;
    }
}

function begin({ at, kind }) {
    const time = make("time", { datetime: new Date(at * 1000).toISOString() }, clock(at));
    return make("li", { class: level(kind) }, time, make("p"), make("p", { class: "soft" }));
}

function fill(item, { at, kind, about, text, workers }, now) {
    const [, what, when] = item.children;
    attribute(item, "class", level(kind));
    write(what, ["kind", kind], " ", ["about", about], about ? ": " : "", text);
    write(when, `${age(now - at)} ago, seen by ${many(workers, "worker")}`);
}

// The servers: which one is ill, which one lags, which one the reads go to.

import { attribute, write } from "./dom.js";
import { reason } from "./findings.js";
import { Table } from "./table.js";
import { bytes, count, many, NONE, percent, seconds } from "./words.js";

// Every other state is bad.
const LEVELS = { up: "good", drained: "note", full: "warn", fenced: "warn", foreign: "warn", unknown: "warn" };

const number = (head, of) => ({ head, class: "number", of: ([, each]) => of(each) });

const COLUMNS = [
    { head: "server", of: ([label]) => label },
    { head: "state", of: ([, each]) => [[`mark ${LEVELS[each.state] ?? "bad"}`, each.state], ...others(each)] },
    { head: "role", of: ([, each]) => [...role(each), ...timeline(each)] },
    number("lag", lag),
    number("share of reads", (each) => percent(each.share)),
    number("connections", (each) => count(each.connections)),
    number("connects", (each) => count(each.connects)),
    number("connect p95", (each) => seconds(each.connect.p95)),
    number("connect errors", (each) => count(each.connect_errors)),
    { head: "last error", class: "wide", paint: error },
];

export class Servers {
    #table = new Table("Servers", COLUMNS, "servers card cards");

    constructor(section) {
        section.append(this.#table.element);
    }

    show({ endpoints }) {
        this.#table.show(Object.entries(endpoints), ([label]) => label);
        this.#table.element.hidden = !Object.keys(endpoints).length;
    }
}

/** What fewer workers say. */
function others({ state, states }) {
    const told = Object.entries(states).filter(([name]) => name !== state);
    return told.map(([name, workers]) => [
        "soft",
        `, ${many(workers, "worker")} ${workers === 1 ? "says" : "say"} ${name}`,
    ]);
}

/** Who cannot be asked is what it was. */
function role({ role, state }) {
    if (role === "unknown") return [["soft", NONE]];
    return ["down", "failed", "silent"].includes(state) ? [["soft", `was ${role}`]] : [role];
}

const timeline = ({ timeline }) => (timeline == null ? [] : [" ", ["soft", `timeline ${timeline}`]]);

function lag({ role, lag_seconds, lag_bytes }) {
    if (role !== "standby" || lag_seconds == null) return [["soft", NONE]];
    return lag_bytes == null ? seconds(lag_seconds) : [seconds(lag_seconds), " ", ["soft", bytes(lag_bytes)]];
}

/** All of it where the pointer rests. */
function error(cell, [, { last_error }]) {
    attribute(cell, "title", last_error ?? "");
    write(cell, ["soft", last_error ? reason(last_error) : NONE]);
}

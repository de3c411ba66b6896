// The connections that are held now: who took them, where that thread stands, and what PostgreSQL says of them.

import { make } from "./dom.js";
import { Table } from "./table.js";
import { many, NONE, place, seconds } from "./words.js";

const COLUMNS = [
    { head: "held for", class: "number", of: (each) => seconds(each.seconds) },
    { head: "group and server", class: "span", of: (each) => [each.group, " ", ["soft", each.server]] },
    { head: "taken at", class: "wide", of: (each) => code(each.taken) },
    { head: "thread is now at", class: "wide", of: (each) => [...code(each.now), " ", ["soft below", who(each)]] },
    { head: "PostgreSQL says", class: "wide", of: said },
];

export class Holders {
    #table = new Table("Connections held now, the longest first", COLUMNS, "holders card cards");
    #nobody = make("p", { class: "card soft" }, "Nobody has held a connection for long.");

    constructor(section) {
        section.append(this.#table.element, this.#nobody);
    }

    show({ holders }) {
        const blocking = blockers(holders);
        const rows = holders.map((each) => ({
            ...each,
            blocks: blocking.get(`${each.server} ${each.backend_pid}`) ?? 0,
        }));
        this.#table.show(rows, ({ worker, server, backend_pid }) => `${worker} ${server} ${backend_pid}`);
        this.#table.element.hidden = !rows.length;
        this.#nobody.hidden = rows.length > 0;
    }
}

/** How many each one keeps waiting, by server and process id. */
function blockers(holders) {
    const number = new Map();
    for (const { server, blocked_by } of holders) {
        for (const { pid } of blocked_by) number.set(`${server} ${pid}`, (number.get(`${server} ${pid}`) ?? 0) + 1);
    }
    return number;
}

function code(where) {
    if (!where) return [["soft", NONE]];
    const [folder, line] = place(where);
    return [
        ["folder", folder],
        ["code", line],
    ];
}

const who = ({ thread, worker }) => `${thread} in worker ${worker}`;

function said({ state, state_seconds, waits_for, blocked_by, blocks, backend_pid }) {
    const pieces = [state ? [style(state), state] : ["soft", NONE]];
    if (state_seconds != null) pieces.push(` for ${seconds(state_seconds)}`);
    if (waits_for) pieces.push(" waits for ", ["code", waits_for]);
    for (const { who, pid, place } of blocked_by) {
        pieces.push(" ", ["mark warn", "blocked"], ` by ${who} (pid ${pid})`);
        if (place) pieces.push(" at ", ...code(place));
    }
    if (blocks) pieces.push(" ", ["mark warn", `blocks ${many(blocks, "other")}`]);
    return [...pieces, " ", ["soft below", `pid ${backend_pid}`]];
}

function style(state) {
    if (state.startsWith("idle in transaction")) return "mark warn";
    return state === "active" ? "mark busy" : "mark";
}

// How a group is spread over the servers: one that is full is seen at once, whatever the others have.

import { make } from "./dom.js";
import { Table } from "./table.js";
import { count, NONE, percent, rate, seconds } from "./words.js";

const PARTS = ["in_use", "cleaning", "opening", "idle", "unopened"];

const number = (head, of) => ({ head, class: "number", of: ([, server]) => of(server) });

const COLUMNS = [
    { head: "server", of: ([label]) => label },
    { head: "connections", class: "wide", paint: bar },
    number("in use", (server) => `${count(server.in_use)} of ${count(server.connection_count)}`),
    number("idle", (server) => count(server.idle)),
    number("checkouts", (server) => rate(server.hold.rate)),
    number("for reading", (server) => (server.checkouts ? percent(server.reads / server.checkouts) : NONE)),
    number("hold p95", (server) => seconds(server.hold.p95)),
    number("statement p95", (server) => seconds(server.statement.p95)),
];

export const spread = () => new Table("By server", COLUMNS, "by-server cards");

/** The numbers beside it say the same. */
function bar(cell, [, server]) {
    const { connection_count: all, in_use, cleaning, opening, idle } = server;
    const parts = { in_use, cleaning, opening, idle, unopened: Math.max(0, all - in_use - cleaning - opening - idle) };
    if (!cell.firstChild) {
        cell.append(
            make("div", { class: "bar", "aria-hidden": "true" }, ...PARTS.map((part) => make("i", { class: part }))),
        );
    }
    PARTS.forEach((part, number) => {
        cell.firstChild.children[number].style.flexGrow = parts[part];
    });
}

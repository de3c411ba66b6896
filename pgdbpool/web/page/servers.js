// The servers: which one is ill, which one lags, which one the reads go to.

import { attribute, write } from "./dom.js";
import { reason } from "./findings.js";
import { Table } from "./table.js";
import { bytes, count, NONE, percent, seconds } from "./words.js";

const LEVELS = { up: "good", drained: "note", full: "warn", fenced: "warn", foreign: "warn", unknown: "warn" }; // else bad

export class Servers {
  #table = new Table("Servers", [
    { head: "server", fill: (cell, [label]) => write(cell, label) },
    { head: "state", fill: (cell, [, each]) => write(cell, [`mark ${LEVELS[each.state] ?? "bad"}`, each.state]) },
    { head: "role", fill: (cell, [, each]) => write(cell, each.role, ...timeline(each)) },
    { head: "lag", class: "number", fill: (cell, [, each]) => write(cell, ...lag(each)) },
    { head: "share of reads", class: "number", fill: (cell, [, each]) => write(cell, percent(each.share)) },
    { head: "connections", class: "number", fill: (cell, [, each]) => write(cell, count(each.connections)) },
    { head: "connects", class: "number", fill: (cell, [, each]) => write(cell, count(each.connects)) },
    { head: "connect p95", class: "number", fill: (cell, [, each]) => write(cell, seconds(each.connect.p95)) },
    { head: "connect errors", class: "number", fill: (cell, [, each]) => write(cell, count(each.connect_errors)) },
    { head: "last error", class: "wide", fill: (cell, [, each]) => error(cell, each) },
  ], "servers card cards");

  constructor(section) {
    section.append(this.#table.element);
  }

  show({ endpoints }) {
    this.#table.show(Object.entries(endpoints), ([label]) => label);
    this.#table.element.hidden = !Object.keys(endpoints).length;
  }
}

const timeline = ({ timeline }) => (timeline == null ? [] : [" ", ["soft", `timeline ${timeline}`]]);

function lag({ role, lag_seconds, lag_bytes }) {
  if (role !== "standby" || lag_seconds == null) return [["soft", NONE]];
  return lag_bytes == null ? [seconds(lag_seconds)] : [seconds(lag_seconds), " ", ["soft", bytes(lag_bytes)]];
}

function error(cell, { last_error }) {
  attribute(cell, "title", last_error ?? "");
  write(cell, ["soft", last_error ? reason(last_error) : NONE]);
}

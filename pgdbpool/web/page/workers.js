// The processes whose figures are on this page.

import { make, write } from "./dom.js";
import { Table } from "./table.js";
import { age } from "./words.js";

export class Workers {
  #alone = make("p", { class: "card warn" });
  #table = new Table("Workers of this host", [
    { head: "process", fill: (cell, [each]) => write(cell, `${each.pid}`) },
    { head: "runs for", class: "number", fill: (cell, [each, now]) => write(cell, age(now - each.started)) },
    { head: "figures are", class: "number", fill: (cell, [each, now]) => write(cell, `${age(now - each.at)} old`) },
  ], "workers card");

  constructor(section) {
    section.append(this.#alone, this.#table.element);
  }

  show({ workers, alone, at }) {
    write(this.#alone, alone ? `Figures of this worker only: ${alone}` : "");
    this.#alone.hidden = !alone;
    this.#table.show(workers.map((each) => [each, at]), ([{ id }]) => id);
    this.#table.element.hidden = !workers.length;
  }
}

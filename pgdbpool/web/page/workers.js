// The processes whose figures are on this page.

import { make, write } from "./dom.js";
import { Table } from "./table.js";
import { age } from "./words.js";

const COLUMNS = [
    { head: "process", of: ([{ pid }]) => `${pid}` },
    { head: "runs for", class: "number", of: ([{ started }, now]) => age(now - started) },
    { head: "figures are", class: "number", of: ([{ at }, now]) => `${age(now - at)} old` },
];

export class Workers {
    #alone = make("p", { class: "card warn" });
    #table = new Table("Workers of this host", COLUMNS, "workers card");

    constructor(section) {
        section.append(this.#alone, this.#table.element);
    }

    show({ workers, alone, at }) {
        write(this.#alone, alone ? `Figures of this worker only: ${alone}` : "");
        this.#alone.hidden = !alone;
        this.#table.show(
            workers.map((each) => [each, at]),
            ([{ id }]) => id,
        );
        this.#table.element.hidden = !workers.length;
    }
}

// Tables that stay tables where the screen is narrow: page.css then shows each row as a card, the roles say what it is.

import { each, make, write } from "./dom.js";

export class Table {
    #columns;
    #body = make("tbody", { role: "rowgroup" });

    /** A column is {head, class} and `of(row)`, a string or the pieces of `write`, or else `paint(cell, row)`. */
    constructor(caption, columns, style) {
        this.#columns = columns;
        const heads = columns.map(({ head, class: name = "" }) =>
            make("th", { scope: "col", role: "columnheader", class: name }, head),
        );
        const head = make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads));
        this.element = make("table", { role: "table", class: style }, make("caption", {}, caption), head, this.#body);
    }

    show(rows, key) {
        each(
            this.#body,
            rows,
            key,
            () => this.#begin(),
            (line, row) => this.#fill(line, row),
        );
    }

    /** The first cell names its row. */
    #begin() {
        const cells = this.#columns.map(({ head, class: name = "" }, number) =>
            number
                ? make("td", { role: "cell", class: name, "data-head": head })
                : make("th", { role: "rowheader", scope: "row", class: name }),
        );
        return make("tr", { role: "row" }, ...cells);
    }

    #fill(line, row) {
        this.#columns.forEach(({ of, paint = (cell) => write(cell, ...pieces(of(row))) }, number) =>
            paint(line.children[number], row),
        );
    }
}

const pieces = (told) => (Array.isArray(told) ? told : [told]);

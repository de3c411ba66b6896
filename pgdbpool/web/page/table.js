// Tables that stay tables where the screen is narrow: page.css then shows each row as a card, and the roles say what it is.

import { each, make } from "./dom.js";

export class Table {
  #columns;
  #body;

  /** A column is {head, fill(cell, row), class}; the first one names its row. */
  constructor(caption, columns, style = "") {
    this.#columns = columns;
    this.#body = make("tbody", { role: "rowgroup" });
    const heads = columns.map(({ head, class: name = "" }) => make("th", { scope: "col", role: "columnheader", class: name }, head));
    this.element = make(
      "table",
      { role: "table", class: style },
      make("caption", {}, caption),
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)),
      this.#body,
    );
  }

  show(rows, key) {
    each(this.#body, rows, key, () => this.#begin(), (line, row) => this.#fill(line, row));
  }

  #begin() {
    const cells = this.#columns.map(({ head, class: name = "" }, number) =>
      number
        ? make("td", { role: "cell", class: name, "data-head": head })
        : make("th", { role: "rowheader", scope: "row", class: name, "data-head": head }),
    );
    return make("tr", { role: "row" }, ...cells);
  }

  #fill(line, row) {
    this.#columns.forEach(({ fill }, number) => fill(line.children[number], row));
  }
}

// How much a counter has grown during the last minute, as far as this page has seen it.

const SPAN = 60; // s

export class Recent {
    #seen = new Map();

    add(name, at, total) {
        const seen = (this.#seen.get(name) ?? []).filter((each) => each.at >= at - SPAN && each.total <= total);
        this.#seen.set(name, [...seen, { at, total }]);
    }

    grown(name) {
        const seen = this.#seen.get(name) ?? [];
        return seen.length ? seen.at(-1).total - seen[0].total : 0;
    }
}

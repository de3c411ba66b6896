// What the charts show: the server's history, and after its end what this page saw since.

// Of what the last one is of, a few seconds each, the page itself sees nothing.
const LINES = ["in_use", "idle", "waiting", "wait_p95"];
const SPAN = 900; // s
const LEAST = 120; // s shown though nothing is known of them

export class History {
    #seen = [];

    add({ at, groups, history }) {
        if (at !== this.#seen.at(-1)?.at) this.#seen.push({ at, groups });
        this.#seen = this.#seen.filter((each) => each.at > Math.max(history.end, at - SPAN));
    }

    /** Moments, the values of each line at them (null: there was none; undefined: not known), and the range to show. */
    of(name, { at, history: { step, end, groups } }) {
        const lines = groups[name] ?? Object.fromEntries(LINES.map((line) => [line, []]));
        const length = lines.in_use.length;
        const past = Array.from({ length }, (_, i) => end - step * (length - 1 - i));
        const times = [...past, ...this.#seen.map((each) => each.at)];
        return {
            times,
            range: [Math.max(at - SPAN, Math.min(times[0] ?? at, at - LEAST)), at],
            values: LINES.map((line) => [...lines[line], ...this.#seen.map((each) => each.groups[name]?.[line])]),
        };
    }
}

// Asks for the figures once a second while somebody looks, and tells how the link is.

const EVERY = 1000; // ms
const PATIENCE = 5000; // ms, for one answer

/** Calls `heard(stats)` for each answer, and `told(link)` once a second at least: {paused, trouble, silent}. */
export class Poll {
    #url;
    #heard;
    #told;
    #paused = false;
    #trouble = null;
    #answered = performance.now();
    #timer = 0;
    #round = 0;

    constructor(url, heard, told) {
        this.#url = url;
        this.#heard = heard;
        this.#told = told;
        document.addEventListener("visibilitychange", () => this.#again());
        setInterval(() => this.#tell(), EVERY);
        this.#again();
    }

    get paused() {
        return this.#paused;
    }

    set paused(value) {
        this.#paused = value;
        this.#again();
    }

    /** Begin anew: at once, or not at all while paused or hidden. */
    #again() {
        clearTimeout(this.#timer);
        this.#round += 1;
        this.#answered = performance.now(); // nobody asked until now
        this.#tell();
        if (!this.#paused && !document.hidden) this.#ask(this.#round);
    }

    async #ask(round) {
        const began = performance.now();
        let stats;
        try {
            stats = await answer(this.#url);
            this.#trouble = null;
        } catch (error) {
            this.#trouble = inWords(error);
        }
        if (round !== this.#round) return;
        this.#timer = setTimeout(() => this.#ask(round), Math.max(0, began + EVERY - performance.now()));
        if (stats) {
            this.#answered = performance.now();
            this.#heard(stats);
        }
        this.#tell();
    }

    #tell() {
        this.#told({
            paused: this.#paused,
            trouble: this.#trouble,
            silent: (performance.now() - this.#answered) / 1000,
        });
    }
}

async function answer(url) {
    const response = await fetch(url, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
    if (!response.ok) throw new Error(`answers ${response.status} ${response.statusText}`.trim());
    const stats = await response.json();
    if (stats?.format !== 1) throw new Error("answers something else: reload this page");
    return stats;
}

function inWords(error) {
    if (error.name === "TimeoutError") return "does not answer";
    if (error instanceof TypeError) return "cannot be reached";
    return error instanceof SyntaxError ? "answers something else" : error.message;
}

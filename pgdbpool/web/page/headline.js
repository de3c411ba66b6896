// The worst thing that goes on now, in large letters; the others below it; and spoken, where someone listens.

import { attribute, each, make, write } from "./dom.js";
import { many } from "./words.js";

const WORDS = { bad: "Trouble", warn: "Attention", note: "Note", calm: "Calm" };
const CALM = { level: "calm", key: "calm", text: "Nobody waits long for a connection, and no server is away" };
const SHOWN = 5;
const BREATH = 6000; // ms at least between two things that are spoken

export class Headline {
    #first = make("p", { class: "first" });
    #others = make("ul");
    #spoken;
    #said = { key: "", at: -BREATH };

    constructor(section, spoken) {
        this.section = section;
        this.#spoken = spoken;
        section.append(this.#first, this.#others);
    }

    show(found) {
        const [worst, ...others] = found.length && found[0].level !== "note" ? found : [CALM, ...found];
        attribute(this.section, "class", worst.level);
        write(this.#first, [`mark ${worst.level}`, WORDS[worst.level]], " ", ["text", worst.text]);
        each(
            this.#others,
            shortened(others),
            ({ key }) => key,
            () => make("li"),
            fill,
        );
        document.title = `${WORDS[worst.level]} – pgdbpool`;
        this.speak(worst.key, `${WORDS[worst.level]}: ${worst.text}`);
    }

    /** Only news is spoken, not each number that changes. */
    speak(key, text) {
        const now = performance.now();
        if (key === this.#said.key || now - this.#said.at < BREATH) return;
        this.#said = { key, at: now };
        write(this.#spoken, text);
    }
}

function fill(line, { level, text }) {
    attribute(line, "class", level);
    write(line, [`mark ${level}`, WORDS[level]], " ", ["text", text]);
}

function shortened(found) {
    if (found.length <= SHOWN) return found;
    const text = `${many(found.length - SHOWN + 1, "more thing")} like these`;
    return [...found.slice(0, SHOWN - 1), { level: "note", key: "more", text }];
}

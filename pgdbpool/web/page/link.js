// Whether what is shown is what is: live, paused, or old.

import { attribute, write } from "./dom.js";
import { age, clock } from "./words.js";

const OLD = 3; // s without news

export class Link {
    #line;
    #alarm;
    #headline;
    #news = { at: null, since: 0, again: null };

    constructor(line, alarm, headline) {
        this.#line = line;
        this.#alarm = alarm;
        this.#headline = headline;
    }

    /** Figures have come; the same ones again are no news. */
    heard({ at }) {
        if (at !== this.#news.at) this.#news = { at, since: performance.now(), again: null };
        else this.#news.again ??= performance.now();
    }

    show({ paused, trouble, silent }) {
        const alarm = paused || document.hidden ? "" : this.#wrong(trouble, silent);
        const shown = this.#news.at === null ? "" : ` ${clock(this.#news.at)}`;
        attribute(this.#line, "class", alarm ? "lost" : paused ? "paused" : shown ? "live" : "waiting");
        write(this.#line, (alarm ? "Old" : paused ? "Paused" : shown ? "Live" : "Asking the pool …") + shown);
        this.#alarm.hidden = !alarm;
        write(this.#alarm, alarm);
        document.body.classList.toggle("old", Boolean(alarm) && this.#news.at !== null);
        if (alarm) this.#headline.speak("alarm", alarm);
    }

    #wrong(trouble, silent) {
        const { at, since, again } = this.#news;
        const away = `The server ${trouble ?? "does not answer"}.`;
        if (at === null) return trouble || silent > OLD ? `${away} This page goes on asking.` : "";
        const still = again !== null && past(again) > OLD;
        if (silent < OLD && !still) return "";
        const what = silent < OLD ? "The figures stand still." : away;
        return `${what} What you see is ${age(past(since))} old, of ${clock(at)}; this page goes on asking.`;
    }
}

const past = (moment) => (performance.now() - moment) / 1000;

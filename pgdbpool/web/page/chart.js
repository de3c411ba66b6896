// One chart over time: uPlot, in the page's colours, with a legend that tells the values under the pointer, else the
// last ones.

import { attribute, each, make, write } from "./dom.js";
import { clock } from "./words.js";

const DARK = matchMedia("(prefers-color-scheme: dark)");

const probe = document.body.appendChild(make("i", { hidden: "" }));

/** A colour of page.css as a canvas understands it. */
function colour(name) {
    probe.style.color = `var(--${name})`;
    return getComputedStyle(probe).color;
}

export class Chart {
    #lines;
    #plot;
    #summary = make("div", { role: "img", class: "plot" });
    #legend = make("ul", { class: "legend" });
    #values;
    #marks = [];
    #range = [0, 1];
    #top = 1;

    /**
     * A line is {name, class, colour, dash, fill, width, busy}, and not drawn while it is 0 if busy. `words` writes a
     * value, `steps` are those of the scale.
     */
    constructor(title, lines, { words, steps = [] }) {
        this.#lines = lines;
        this.words = words;
        this.title = title;
        this.element = make("figure", {}, make("figcaption", {}, title), this.#legend, this.#summary);
        this.#plot = new uPlot(this.#options(steps), [[], ...lines.map(() => [])], this.#summary);
        new ResizeObserver(([{ contentRect }]) => this.#fit(contentRect)).observe(this.#summary);
        DARK.addEventListener("change", () => this.#plot.redraw(false));
    }

    /** `range` is the time shown, `top` the least upper end of the scale, `marks` the events: {at, level}. */
    show(times, values, { range, top, marks = [] }) {
        this.#range = range;
        this.#top = top;
        this.#marks = marks;
        this.#values = values;
        this.#plot.setData([
            times,
            ...values.map((each, number) => (this.#lines[number].busy ? unlessNone(each) : each)),
        ]);
        this.#tell();
    }

    #fit({ width, height }) {
        if (width > 0) this.#plot.setSize({ width, height });
    }

    #tell() {
        const { idx } = this.#plot.cursor;
        const shown = this.#lines.map((line, number) => ({ ...line, value: value(this.#values[number], idx) }));
        each(
            this.#legend,
            shown,
            ({ name }) => name,
            ({ class: style }) => make("li", { class: style }),
            (item, line) => write(item, ["name", line.name], " ", ["value", this.words(line.value)]),
        );
        attribute(this.#summary, "aria-label", this.#described());
    }

    #described() {
        const most = this.#lines.map(({ name }, number) => {
            const known = this.#values[number].filter((each) => each != null);
            const most = known.length ? Math.max(...known) : null;
            return `${name} ${this.words(known.at(-1))}, at most ${this.words(most)}`;
        });
        return `${this.title}, over time: ${most.join("; ")}`;
    }

    #options(incrs) {
        const axis = { stroke: () => colour("soft"), font: "11px system-ui, sans-serif", ticks: { show: false } };
        const grid = { stroke: () => colour("line"), width: 1 };
        const words = (_, splits) => splits.map(this.words);
        return {
            width: 300,
            height: 150,
            padding: [8, 20, 0, 0],
            legend: { show: false },
            cursor: { y: false, drag: { x: false }, sync: { key: "pgdbpool" }, points: { size: 5 } },
            scales: {
                x: { time: false, range: () => this.#range },
                y: { range: (_, low, high) => [0, Math.max(this.#top, (high ?? 0) * 1.1)] },
            },
            axes: [
                { ...axis, grid: { show: false }, space: 70, size: 22, incrs: [15, 30, 60, 120, 300], values: hours },
                { ...axis, grid, size: 52, space: 30, values: words, ...(incrs.length && { incrs }) },
            ],
            series: [{}, ...this.#lines.map(series)],
            hooks: { setCursor: [() => this.#values && this.#tell()], drawClear: [(plot) => this.#events(plot)] },
        };
    }

    #events({ ctx, bbox, valToPos }) {
        ctx.save();
        ctx.lineWidth = devicePixelRatio;
        ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
        for (const { at, level } of this.#marks) {
            const x = Math.round(valToPos(at, "x", true));
            ctx.strokeStyle = colour(level);
            ctx.beginPath();
            ctx.moveTo(x, bbox.top);
            ctx.lineTo(x, bbox.top + bbox.height);
            ctx.stroke();
        }
        ctx.restore();
    }
}

const hours = (_, moments, __, ___, step) => moments.map((each) => clock(each).slice(0, step < 60 ? 8 : 5));

/** Where nothing ever was there is no line. */
const unlessNone = (values) => (values.some((each) => each) ? values : values.map(() => null));

const value = (values, at) => (at == null ? values.findLast((each) => each !== undefined) : values[at]);

function series({ name, colour: of, dash, fill, width = 1.5 }) {
    return {
        label: name,
        stroke: () => colour(of),
        ...(fill && { fill: () => colour(fill) }),
        width,
        dash,
        points: { show: false },
    };
}

// Figures in words: always with their unit, never with more digits than they are worth.

export const NONE = "–";
const NARROW = "\u202f"; // between a number and its unit, where no line may break

const unit = (number, name) => `${number}${NARROW}${name}`;

/** 0.0042 is "4.2 ms", 31.84 is "31.8 s", 312 is "5 min 12 s". */
export function seconds(value) {
    if (value == null) return NONE;
    if (value < 0.00995) return unit(value ? Math.max(0.1, value * 1000).toFixed(1) : 0, "ms");
    if (value < 0.9995) return unit(Math.round(value * 1000), "ms");
    if (value < 99.95) return unit(value.toFixed(1), "s");
    return long(Math.round(value));
}

/** The same of what is older, in whole units: "42 s", "3 h 7 min". */
export function age(value) {
    return value < 99.5 ? unit(Math.max(0, Math.round(value)), "s") : long(Math.round(value));
}

function long(value) {
    const [days, hours, minutes] = [
        Math.floor(value / 86400),
        Math.floor(value / 3600) % 24,
        Math.floor(value / 60) % 60,
    ];
    if (days) return `${unit(days, "d")} ${unit(hours, "h")}`;
    if (hours) return `${unit(hours, "h")} ${unit(minutes, "min")}`;
    return `${unit(minutes, "min")} ${unit(value % 60, "s")}`;
}

export function bytes(value) {
    if (value == null) return NONE;
    const names = ["B", "kB", "MB", "GB", "TB"];
    const step = Math.min(names.length - 1, value < 1000 ? 0 : Math.floor(Math.log10(value) / 3));
    const scaled = value / 1000 ** step;
    return unit(step && scaled < 10 ? scaled.toFixed(1) : Math.round(scaled), names[step]);
}

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

export const count = (value) => (value == null ? NONE : grouped.format(value));

export const percent = (share) => (share == null ? NONE : unit(Math.round(share * 100), "%"));

export function rate(value) {
    return value == null ? NONE : unit(value < 10 ? value.toFixed(1) : count(value), "/s");
}

/** `many(1, "request")` is "1 request". */
export const many = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

const local = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });

/** The time of day, here, of a moment in unix seconds. */
export const clock = (moment) => local.format(moment * 1000);

/** "/app/shop/store.py:42 (order)" is ["/app/shop/", "store.py:42 (order)"]. */
export function place(text) {
    const at = text.replace(/ \(.*/, "").lastIndexOf("/") + 1;
    return [text.slice(0, at), text.slice(at)];
}

/** "a", "a and b", "a, b and c" */
export function listed(names) {
    return names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

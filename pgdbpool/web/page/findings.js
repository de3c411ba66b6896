// What is going on, in plain words: the worst first. Each finding has a level (bad, warn, note), a key that stays the
// same while only its numbers change, and a text.

import { bytes, listed, many, place, seconds } from "./words.js";

const LEVELS = ["bad", "warn", "note"];
const NOTICED = 0.1; // s of waiting that are worth a word
const LONG = 0.5; // s of waiting that hurt
const IDLE_LONG = 10; // s idle in a transaction
const LAGS = 10; // s behind the primary

const STATES = {
    down: ["bad", "is down"],
    failed: ["bad", "cannot be used"],
    silent: ["bad", "does not answer"],
    fenced: ["warn", "is fenced: a primary whose timeline has ended"],
    foreign: ["warn", "belongs to another cluster"],
    full: ["warn", "takes no further connections"],
    unknown: ["warn", "has not been reached yet"],
    drained: ["note", "is drained"],
};
const POOLS = {
    none: "No pool has been made yet",
    closed: "The pool is closed",
};

export function findings(stats) {
    const lost = noPrimary(stats.endpoints);
    const waits = Object.entries(stats.groups).flatMap(([name, group]) => waiting(name, group, stats));
    const servers = Object.entries(stats.endpoints).flatMap(([label, endpoint]) => server(label, endpoint));
    const found = [
        ...pool(stats),
        ...Object.entries(stats.groups).flatMap(([name, group]) => unserved(name, group, stats)),
        ...(lost.length ? [...servers, ...lost, ...waits] : [...waits, ...servers]), // the cause first
        ...blocked(stats.holders),
        ...Object.keys(stats.groups).flatMap((name) => inVain(name, gaveUp(name, stats.history))),
        ...idleInTransaction(stats.holders),
        ...alone(stats),
    ];
    return found.sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level));
}

/** How many requests of a group waited in vain during the last minute. */
function gaveUp(name, { step, groups }) {
    return (groups[name]?.timeouts ?? []).slice(-60 / step).reduce((sum, each) => sum + (each ?? 0), 0);
}

function pool({ pool }) {
    return POOLS[pool] ? [{ level: "bad", key: `pool ${pool}`, text: POOLS[pool] }] : [];
}

function unserved(name, { unserved }, { pool }) {
    const text = `No server can serve ${name} now`;
    return unserved == null || pool === "closed" ? [] : [{ level: "bad", key: `unserved ${name}`, text }];
}

function waiting(name, group, { holders }) {
    if (!group.waiting || group.waiting_for < NOTICED) return [];
    const full = Object.keys(group.servers).filter((label) => isFull(group.servers[label]));
    const first = group.waiting === 1 ? "" : "the first ";
    const text =
        `${many(group.waiting, "request")} ${wait(group.waiting)} for a connection of ${name}, ` +
        `${first}for ${seconds(group.waiting_for)}${because(group, full)}${longest(name, full, holders)}`;
    return [{ level: group.waiting_for < LONG ? "warn" : "bad", key: `waiting ${name}`, text }];
}

const wait = (number) => (number === 1 ? "waits" : "wait");

const isFull = ({ connection_count, in_use, cleaning }) =>
    connection_count > 0 && in_use + cleaning >= connection_count;

function because(group, full) {
    const all = full.reduce((sum, label) => sum + group.servers[label].connection_count, 0);
    if (full.length && full.length === Object.keys(group.servers).length) return `: all ${all} are in use`;
    if (full.length) return `: all ${all} to ${listed(full)} are in use`;
    if (group.opening) return `: ${group.opening} being opened`;
    const elsewhere = Object.keys(group.servers).length > 1 ? ", or on servers that may not serve them" : "";
    if (group.idle) return `, though ${group.idle} are idle: in other workers${elsewhere}`;
    return "";
}

function longest(name, full, holders) {
    const held = holders.find((each) => each.group === name && (!full.length || full.includes(each.server)));
    return held ? `; longest held ${seconds(held.seconds)}${at(held.taken ?? held.now)}` : "";
}

const at = (where) => (where ? ` at ${place(where)[1]}` : "");

function server(label, { state, role, lag_seconds, lag_bytes, last_error }) {
    const [level, words] = STATES[state] ?? [];
    const why = level === "bad" && state !== "silent" && last_error ? `: ${reason(last_error)}` : "";
    if (level) return [{ level, key: `${state} ${label}`, text: `${label} ${words}${why}` }];
    if (role !== "standby" || !(lag_seconds >= LAGS)) return [];
    return [
        {
            level: "warn",
            key: `lag ${label}`,
            text: `${label} is ${seconds(lag_seconds)} (${bytes(lag_bytes)}) behind`,
        },
    ];
}

/** libpq's message without the address that stands beside it anyway. */
export function reason(error) {
    const [line] = error.replace(/^connection to server .*? failed: /s, "").split(/\n| Is the server running/);
    return line.charAt(0).toLowerCase() + line.slice(1);
}

function noPrimary(endpoints) {
    const all = Object.values(endpoints);
    const up = all.filter(({ state }) => state === "up" || state === "full");
    if (all.length < 2 || up.length === all.length || up.some(({ role }) => role === "primary")) return [];
    return [{ level: "bad", key: "no primary", text: "No primary is up: nothing can be written" }];
}

function blocked(holders) {
    const behind = Map.groupBy(
        holders.filter((each) => each.blocked_by.length),
        (each) => `${each.server} ${each.blocked_by[0].pid}`,
    );
    return [...behind].map(([key, waiters]) => {
        const { server, blocked_by } = waiters[0];
        const { who, pid, place } = blocked_by[0];
        const text =
            `${many(waiters.length, "connection")} to ${server} ${wait(waiters.length)} for a lock of ` +
            `${who} (pid ${pid})${at(place)}`;
        return { level: "warn", key: `blocked ${key}`, text };
    });
}

function inVain(name, number) {
    const text = `${many(number, "request")} waited for a connection of ${name} in vain in the last minute`;
    return number ? [{ level: "warn", key: `timeouts ${name}`, text }] : [];
}

function idleInTransaction(holders) {
    return holders
        .filter(({ state, state_seconds }) => state?.startsWith("idle in transaction") && state_seconds >= IDLE_LONG)
        .slice(0, 1)
        .map(({ group, state_seconds, taken, now }) => ({
            level: "warn",
            key: `idle ${group}`,
            text: `A transaction of ${group} has been idle for ${seconds(state_seconds)}${at(taken ?? now)}`,
        }));
}

function alone({ alone }) {
    return alone ? [{ level: "note", key: "alone", text: `Figures of this worker only: ${alone}` }] : [];
}

// What the charts show: the server's history, and after its end what this page saw since.

const LINES = ["in_use", "idle", "waiting", "wait_p95"];

export class History {
  #seen = [];

  add({ at, groups, history }) {
    const now = Object.entries(groups).map(([name, group]) => [name, { ...group, wait_p95: group.wait.p95 }]);
    if (at !== this.#seen.at(-1)?.at) this.#seen.push({ at, groups: Object.fromEntries(now) });
    this.#seen = this.#seen.filter((each) => each.at > history.end);
  }

  /** Moments, and the values of each line at them. */
  of(name, { step, end, groups }) {
    const lines = groups[name] ?? Object.fromEntries(LINES.map((line) => [line, []]));
    const length = lines.in_use.length;
    const past = Array.from({ length }, (_, i) => end - step * (length - 1 - i));
    return {
      times: [...past, ...this.#seen.map((each) => each.at)],
      values: LINES.map((line) => [...lines[line], ...this.#seen.map((each) => each.groups[name]?.[line] ?? null)]),
    };
  }
}

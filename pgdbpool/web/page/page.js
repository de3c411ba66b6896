// The page: figures come once a second, and each part of the page shows its own of them.

import { each, make, write } from "./dom.js";
import { Events } from "./events.js";
import { findings } from "./findings.js";
import { Groups } from "./groups.js";
import { Headline } from "./headline.js";
import { History } from "./history.js";
import { Holders } from "./holders.js";
import { Link } from "./link.js";
import { Poll } from "./poll.js";
import { Servers } from "./servers.js";
import { many } from "./words.js";
import { Workers } from "./workers.js";

const part = (id) => document.getElementById(id);

const history = new History();
const headline = new Headline(part("now"), part("spoken"));
const link = new Link(part("link"), part("alarm"), headline);
const groups = new Groups(part("groups"));
const tables = [
    new Holders(part("held")),
    new Servers(part("servers")),
    new Events(part("events")),
    new Workers(part("workers")),
];

function show(stats) {
    link.heard(stats);
    history.add(stats);
    headline.show(findings(stats));
    groups.show(stats, history);
    for (const table of tables) table.show(stats);
    advise(stats.advice);
    write(part("extent"), extent(stats));
}

function advise(advice) {
    const list = part("advice").querySelector("ul");
    each(
        list,
        advice,
        (line) => line,
        () => make("li"),
        (item, line) => write(item, line),
    );
    part("advice").hidden = !advice.length;
}

function extent({ workers, groups, endpoints }) {
    const number = (of) => Object.keys(of).length;
    return [many(workers.length, "worker"), many(number(groups), "group"), many(number(endpoints), "server")].join(
        " · ",
    );
}

const poll = new Poll("stats.json", show, (state) => link.show(state));
const pause = part("pause");
pause.addEventListener("click", () => {
    poll.paused = !poll.paused;
    write(pause, poll.paused ? "Go on" : "Pause");
});

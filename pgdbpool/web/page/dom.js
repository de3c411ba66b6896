// Elements, changed in place: what has not changed is not touched, so that focus, selection and scrolling stay.

/** `make("td", {class: "number"}, "text", child)`: what is a string becomes text, never markup. */
export function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
}

const written = new WeakMap();

/** Have the element contain these pieces: strings, or `[class, string]` for a span of that class. */
export function write(element, ...pieces) {
    const now = JSON.stringify(pieces);
    if (written.get(element) === now) return;
    written.set(element, now);
    element.replaceChildren(
        ...pieces.map((piece) => (Array.isArray(piece) ? make("span", { class: piece[0] }, piece[1]) : piece)),
    );
}

export function attribute(element, name, value) {
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

const kept = new WeakMap();

/** Have the parent contain one child for each item, and keep those whose `key(item)` was there before. */
export function each(parent, items, key, begin, fill) {
    const before = kept.get(parent) ?? new Map();
    const now = new Map();
    for (const item of items) now.set(unused(key(item), now), item);
    for (const [name, child] of before) if (!now.has(name)) child.remove();
    let place = parent.firstElementChild;
    for (const [name, item] of now) {
        const child = before.get(name) ?? begin(item);
        now.set(name, child);
        fill(child, item);
        if (child === place) place = place.nextElementSibling;
        else parent.insertBefore(child, place);
    }
    kept.set(parent, now);
}

function unused(name, names) {
    while (names.has(name)) name += "'";
    return name;
}

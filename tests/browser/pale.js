() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
    const layers = (element) =>
        element ? [...layers(element.parentElement), getComputedStyle(element).backgroundColor] : [];
    const painted = (colours) => {
        canvas.clearRect(0, 0, 1, 1);
        for (const colour of colours) {
            canvas.fillStyle = colour;
            canvas.fillRect(0, 0, 1, 1);
        }
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
    };
    const linear = (part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
    const light = (colours) =>
        painted(colours).reduce((sum, part, i) => sum + linear(part) * [0.2126, 0.7152, 0.0722][i], 0);
    const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const text = walker.currentNode.data.trim(),
            element = walker.currentNode.parentElement;
        if (!text || !element.checkVisibility() || element.closest("script, noscript, .unseen, .skip")) continue;
        const style = getComputedStyle(element),
            behind = layers(element);
        const ratio = contrast(light(behind), light([...behind, style.color]));
        if (ratio < (parseFloat(style.fontSize) >= 24 ? 3 : 4.5))
            found.push(`${text.slice(0, 40)}: ${ratio.toFixed(1)}`);
    }
    return found;
};

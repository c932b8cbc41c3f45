// What a program can tell of a page's accessibility. The value is a list of complaints.
(() => {
  const bad = [];
  const all = (selector) => [...document.querySelectorAll(selector)];
  const shown = (node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const where = (node) => `<${node.tagName.toLowerCase()} class="${node.getAttribute("class") || ""}"> ${(node.textContent || "").trim().slice(0, 40)}`;

  if (!document.documentElement.lang) bad.push("the page has no language");
  if (!document.title.trim()) bad.push("the page has no title");
  for (const [selector, n] of [["h1", 1], ["main", 1]]) if (all(selector).length !== n) bad.push(`there are ${all(selector).length} ${selector}`);
  let last = 1;
  for (const heading of all("h1, h2, h3, h4, h5, h6")) {
    const level = +heading.tagName[1];
    if (level > last + 1) bad.push(`heading ${heading.textContent.trim()} skips a level`);
    last = level;
    if (!heading.textContent.trim()) bad.push("a heading is empty");
  }
  const ids = all("[id]").map((node) => node.id);
  for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) bad.push(`the ID ${id} is there twice`);
  for (const attribute of ["aria-labelledby", "aria-describedby", "for"]) {
    for (const node of all(`[${attribute}]`)) for (const id of node.getAttribute(attribute).split(/\s+/)) if (!document.getElementById(id)) bad.push(`${attribute} names ${id}, which is not there`);
  }
  const named = (node) => node.getAttribute("aria-label") || node.getAttribute("aria-labelledby") || node.textContent.trim() || node.getAttribute("title");
  for (const node of all("a[href], button, summary")) if (!named(node)) bad.push(`${where(node)} has no name`);
  for (const node of all("input:not([type=hidden]):not([aria-hidden]), select, textarea")) if (!node.labels.length && !node.getAttribute("aria-label")) bad.push(`input ${node.name} has no label`);
  for (const node of all("nav")) if (!node.getAttribute("aria-label")) bad.push("a nav has no label");
  for (const node of all("svg:not([aria-hidden=true])")) if (node.getAttribute("role") !== "img" || !node.getAttribute("aria-label")) bad.push("a drawing has no words");
  for (const node of all("progress")) if (!node.getAttribute("aria-label")) bad.push("a progress bar has no label");
  for (const node of all("img")) if (!node.alt) bad.push("an image has no alt");
  for (const node of all("table")) {
    if (!node.caption || !node.caption.textContent.trim()) bad.push("a table has no caption");
    for (const head of node.querySelectorAll("th")) if (!head.scope) bad.push(`the header ${head.textContent.trim()} has no scope`);
  }
  for (const node of all("[tabindex]")) if (node.tabIndex > 0) bad.push(`${where(node)} takes a place in the order of focus`);
  for (const node of all("[style], [onclick], style, script:not([src])")) bad.push(`${where(node)} is inline`);
  for (const node of all("button, .button, .side a, .tabs a, .pills a")) {
    const box = node.getBoundingClientRect();
    if (shown(node) && !node.closest(".hidden") && !node.matches(".hidden-button") && (box.height < 24 || box.width < 24)) bad.push(`${where(node)} is a target of ${box.width} by ${box.height}`);
  }

  // Contrast of text, AA: 4.5 to 1, and 3 to 1 where it is large.
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3]));
  const ground = (node) => {
    const layers = [];
    for (let n = node; n; n = n.parentElement) {
      const color = rgba(getComputedStyle(n).backgroundColor);
      layers.push(color);
      if (color[3] === 1) break;
    }
    return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255]);
  };
  const luminance = (color) => {
    const [r, g, b] = color.slice(0, 3).map((v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const seen = new Set();
  for (const node of all("body *")) {
    if (!shown(node) || node.closest("svg, .hidden, .hidden-button, .skip, progress") || ![...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim())) continue;
    const style = getComputedStyle(node);
    const under = ground(node);
    const [light, dark] = [luminance(over(rgba(style.color), under)), luminance(under)].sort((a, b) => b - a);
    const ratio = (light + 0.05) / (dark + 0.05);
    const size = parseFloat(style.fontSize);
    const need = size >= 24 || (size >= 18.66 && style.fontWeight >= 700) ? 3 : 4.5;
    const key = `${style.color} ${under}`;
    if (ratio < need && !seen.has(key)) bad.push(`contrast ${ratio.toFixed(2)} of ${where(node)}`);
    seen.add(key);
  }
  return bad;
})()

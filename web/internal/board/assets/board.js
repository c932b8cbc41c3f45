// The only extra of JavaScript: parts of a page are replaced as they change, and moments are kept current. Everything else is links and forms.
(() => {
  "use strict";

  const state = document.getElementById("live-state");
  const text = document.getElementById("live-text");
  const url = document.body.dataset.live;

  // What must not be lost when a fragment is replaced: the focus, and what is unfolded.
  const mark = (node) => node.id || node.getAttribute("href") || node.getAttribute("name") || node.textContent.trim();
  const same = (root, node) => [...root.querySelectorAll(node.tagName)].find((other) => mark(other) === mark(node));

  const selecting = (holder) => {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && holder.contains(selection.anchorNode);
  };

  const replace = ({ id, html }) => {
    const holder = document.getElementById(id);
    if (!holder || selecting(holder)) return;
    const active = holder.contains(document.activeElement) ? document.activeElement : null;
    const open = [...holder.querySelectorAll("details[open] > summary")];
    const fresh = document.createElement("template");
    fresh.innerHTML = html;
    for (const summary of open) {
      const again = same(fresh.content, summary);
      if (again) again.parentElement.open = true;
    }
    const target = active && same(fresh.content, active);
    holder.replaceChildren(fresh.content);
    if (target) target.focus({ preventScroll: true });
  };

  const show = (live, words) => {
    if (!state) return;
    state.hidden = false;
    state.classList.toggle("off", !live);
    if (text.textContent !== words) text.textContent = words;
  };

  let source = null;
  let again = 0;
  let over = false;

  const close = () => {
    clearTimeout(again);
    if (source) source.close();
    source = null;
  };

  const connect = () => {
    close();
    if (over || document.hidden) return;
    source = new EventSource(url);
    source.addEventListener("open", () => show(true, "Live"));
    source.addEventListener("fragments", (event) => JSON.parse(event.data).forEach(replace));
    source.addEventListener("over", () => {
      over = true;
      close();
      show(false, "Final");
      for (const node of document.querySelectorAll("[data-while-live]")) node.remove();
    });
    source.addEventListener("error", () => {
      show(false, "Not live");
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        again = setTimeout(connect, 15000);
      }
    });
  };

  if (url && "EventSource" in window) {
    connect();
    // A page that nobody sees costs nothing.
    document.addEventListener("visibilitychange", () => (document.hidden ? close() : connect()));
    addEventListener("pagehide", close);
  }

  // Moments, as the server says them; see ago in format.go.
  const ago = (date) => {
    const past = (Date.now() - date) / 1000;
    const s = Math.abs(past);
    const rough = s < 60 ? `${Math.floor(s)} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 172800 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
    if (s < 1) return "just now";
    return past < 0 ? `in ${rough}` : `${rough} ago`;
  };
  setInterval(() => {
    if (document.hidden) return;
    for (const node of document.querySelectorAll("time[title]")) {
      const words = ago(new Date(node.dateTime));
      if (node.textContent !== words) node.textContent = words;
    }
  }, 5000);
})();

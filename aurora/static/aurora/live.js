// Parts of a page that move by themselves: when the system's socket (standing.js) says that what they show has changed, the page is fetched
// again and they are taken from it. The server draws; nothing is drawn here, and no script of what was fetched runs.
const GATHER = 150;
const AGAIN = 5_000;

addEventListener("DOMContentLoaded", () => {
  const settings = document.getElementById("au-live");
  if (!settings) return;
  const types = new Set(settings.dataset.types.split(" "));
  const { key, part } = settings.dataset;
  let timer = null;
  let isFetching = false;
  let isWanted = false;

  const concerns = ({ type, data }) => types.has(type) && (!key || data.id === key || data.execution_id === key);

  // Whoever is writing a reason, or has ticked rows, keeps what they have done so far.
  function isInUse(node) {
    if (node.querySelector("input[type=checkbox]:checked")) return true;
    return [...node.querySelectorAll("input:not([type=hidden]):not([type=checkbox]), textarea")].some((field) => field.value !== field.defaultValue);
  }

  function keepOpen(before, after) {
    const opened = new Set([...before.querySelectorAll("details[data-key][open]")].map((node) => node.dataset.key));
    for (const node of after.querySelectorAll("details[data-key]")) node.open = opened.has(node.dataset.key);
  }

  async function refresh() {
    let wait = GATHER;
    isFetching = true;
    isWanted = false;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", headers: { Accept: "text/html" } });
      if (answer.redirected) location.reload(); // signed out: the page itself leads to where one signs in
      const present = document.querySelector(part);
      const fetched = answer.ok && new DOMParser().parseFromString(await answer.text(), "text/html").querySelector(part);
      if (!fetched || !present || isInUse(present)) return;
      const next = document.importNode(fetched, true);
      keepOpen(present, next);
      present.replaceWith(next);
    } catch {
      isWanted = true; // the server did not answer
      wait = AGAIN;
    } finally {
      isFetching = false;
      if (isWanted) schedule(wait);
    }
  }

  function schedule(wait = GATHER) {
    isWanted = true;
    if (timer !== null || isFetching) return;
    timer = setTimeout(() => {
      timer = null;
      refresh();
    }, wait);
  }

  // The greeting too: what changed between the page and the socket came over neither.
  addEventListener("au:frame", ({ detail: frame }) => {
    if (frame.type === "hello" || frame.type === "gap" || concerns(frame)) schedule();
  });
});

// Parts of a page that move by themselves: when the system's socket (standing.js) says that what they show has changed, they are fetched again
// and taken over. The server draws; nothing is drawn here, and no script of what was fetched runs.
const GATHER = 150;
const AGAIN = 5_000;

// Whoever is writing a reason, or has ticked rows, keeps what they have done so far.
function isInUse(node) {
  if (node.querySelector("input[type=checkbox]:checked")) return true;
  return [...node.querySelectorAll("input:not([type=hidden]):not([type=checkbox]), textarea")].some((field) => field.value !== field.defaultValue);
}

function keepOpen(before, after) {
  const opened = new Set([...before.querySelectorAll("details[data-key][open]")].map((node) => node.dataset.key));
  for (const node of after.querySelectorAll("details[data-key]")) node.open = opened.has(node.dataset.key);
}

// Whoever walks through the page by keyboard goes on from where they are, if that is still there.
const REACHED = "a[href], button, summary, select, textarea, input:not([type=hidden])";

function nameOf(node) {
  const text = node.matches("button, summary") ? node.textContent.trim() : "";
  const row = node.type === "checkbox" ? node.value : node.closest("[data-key]")?.dataset.key;
  return node.getAttribute("href") ?? [node.getAttribute("formaction") ?? node.form?.getAttribute("action"), node.name, row, text].join("\n");
}

// `take` is given the document that was fetched; `signedOut` is called when the answer was the page on which one signs in.
function follow({ address, concerns, take, signedOut }) {
  let timer = null;
  let isFetching = false;
  let isWanted = false;

  async function refresh() {
    let wait = GATHER;
    isFetching = true;
    isWanted = false;
    try {
      const answer = await fetch(address, { credentials: "same-origin", headers: { Accept: "text/html" } });
      if (answer.redirected) signedOut();
      else if (answer.ok) take(new DOMParser().parseFromString(await answer.text(), "text/html"));
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
}

addEventListener("DOMContentLoaded", () => {
  const settings = document.getElementById("au-live");
  if (settings) {
    const types = new Set(settings.dataset.types.split(" "));
    const { key, part } = settings.dataset;
    follow({
      address: location.href,
      concerns: ({ type, data }) => types.has(type) && (!key || data.id === key || data.execution_id === key),
      take(fetched) {
        const [present, after] = [document, fetched].map((page) => page.querySelector(part));
        if (!present || !after || isInUse(present)) return;
        const next = document.importNode(after, true);
        keepOpen(present, next);
        const focused = present.contains(document.activeElement) && nameOf(document.activeElement);
        present.replaceWith(next);
        if (!focused) return;
        const place = [...next.querySelectorAll(REACHED)].find((node) => nameOf(node) === focused);
        requestAnimationFrame(() => place?.focus({ preventScroll: true })); // until then parts of unfold's are cloaked, and take no focus
      },
      signedOut: () => location.reload(), // the page itself leads to where one signs in
    });
  }

  const counts = document.getElementById("au-counts");
  if (counts) {
    const types = new Set(["approval.requested", "approval.decided", "mode.changed"]);
    follow({
      address: counts.dataset.address,
      concerns: ({ type }) => types.has(type),
      take(fetched) {
        for (const after of fetched.querySelectorAll("#nav-sidebar-apps a[href]")) {
          const present = document.querySelector(`#nav-sidebar-apps a[href="${CSS.escape(after.getAttribute("href"))}"]`);
          if (present && present.innerHTML !== after.innerHTML) present.replaceChildren(...document.importNode(after, true).childNodes);
        }
      },
      signedOut() {}, // what somebody is writing on this page is theirs until they leave it
    });
  }
});

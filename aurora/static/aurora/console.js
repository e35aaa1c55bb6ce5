// Small conveniences of the console's pages; every page works without them.
const STEPS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

function distance(seconds) {
  for (const [size, unit] of STEPS) if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
  return "now";
}

function refreshAges() {
  for (const node of document.querySelectorAll("time.au-ago")) {
    const seconds = (Date.now() - Date.parse(node.dateTime)) / 1000;
    if (seconds >= 0 && node.firstElementChild) node.firstElementChild.textContent = distance(seconds);
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  const source = button && document.getElementById(button.dataset.copy);
  if (!source || !navigator.clipboard) return;
  navigator.clipboard.writeText(source.textContent).then(() => {
    const label = button.querySelector("[data-label]") ?? button;
    const before = label.textContent;
    label.textContent = "Copied";
    setTimeout(() => { label.textContent = before; }, 1500);
  });
});

// A second click while the first is under way would do it twice: two investigations, two comments.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.closest(".au-buttons, .au-form")) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "yes";
});
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

setInterval(refreshAges, 30_000);

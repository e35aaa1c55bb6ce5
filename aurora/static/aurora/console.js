// Small conveniences of the console's pages; every page works without them.
const STEPS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];

// As the server writes it (widgets.span): in its largest unit or two.
function span(seconds) {
  const at = STEPS.findIndex(([size]) => seconds >= size);
  if (at < 0) return "0 s";
  const [size, unit] = STEPS[at];
  const [smaller, smallerUnit] = STEPS[at + 1] ?? [];
  const whole = `${Math.floor(seconds / size)} ${unit}`;
  return size > 60 && seconds % size >= smaller ? `${whole} ${Math.floor((seconds % size) / smaller)} ${smallerUnit}` : whole;
}

function refreshAges() {
  for (const node of document.querySelectorAll("time.au-ago")) {
    const seconds = (Date.now() - Date.parse(node.dateTime)) / 1000;
    if (node.firstElementChild) node.firstElementChild.textContent = seconds >= 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
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

// The banner that says how things stand: written by the server, and by the socket when it changes. Without the socket it is right on the next page.
addEventListener("DOMContentLoaded", () => {
  const banner = document.getElementById("au-standing");
  if (!banner) return;
  const readFrom = banner.dataset.source;
  const longest = 30_000;
  const hopeless = new Set([4401, 4403]);
  let pause = 1_000;

  function show(mode) {
    if (!("summary" in mode)) return;
    if (mode.read_data_source !== readFrom && readFrom !== "database") {
      location.reload(); // rows of a store that stood in must not be taken for real ones now
      return;
    }
    banner.hidden = !mode.summary;
    banner.dataset.source = mode.read_data_source;
    banner.querySelector("b").textContent = mode.headline;
    banner.querySelector("span").textContent = mode.summary;
    for (const button of document.querySelectorAll(".au-buttons button, .au-form button, #changelist-actions button")) {
      button.disabled = mode.are_changes_refused;
      button.title = mode.are_changes_refused ? "Changes are refused while the database is away" : "";
    }
  }

  function listen() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}/api/v1/ws/system`);
    socket.addEventListener("message", (event) => {
      const frame = JSON.parse(event.data);
      pause = 1_000;
      if (frame.type === "mode.changed") show(frame.data);
      dispatchEvent(new CustomEvent("au:frame", { detail: frame })); // for live.js: a page needs one socket, not two
    });
    socket.addEventListener("close", (event) => {
      if (hopeless.has(event.code)) return;
      setTimeout(listen, pause * (0.5 + Math.random())); // not every page in the same instant
      pause = Math.min(2 * pause, longest);
    });
  }

  listen();
});

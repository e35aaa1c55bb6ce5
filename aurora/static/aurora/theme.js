// Runs before the page is painted: takes over the theme that was chosen in the console (unfold keeps it under this key).
(() => {
  const KEY = "_x_adminTheme";
  const stored = () => {
    try { return JSON.parse(localStorage.getItem(KEY)) ?? "auto"; } catch { return "auto"; }
  };
  const isDark = () => stored() === "dark" || (stored() === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  const apply = () => document.documentElement.classList.toggle("dark", isDark());
  apply();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  addEventListener("storage", apply);
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme")?.addEventListener("click", () => {
      localStorage.setItem(KEY, JSON.stringify(isDark() ? "light" : "dark"));
      apply();
    });
  });
})();

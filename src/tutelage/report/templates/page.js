"use strict";
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Confusion: one model at a time; without script all are shown.
  const chooser = one("[data-chooser]");
  if (chooser) {
    chooser.hidden = false;
    const choose = () => {
      const model = one('[data-choose="model"]').value;
      for (const figure of all("figure.confusion")) figure.hidden = figure.dataset.model !== model;
    };
    chooser.addEventListener("change", choose);
    choose();
  }

  // Disagreements: filter, and a page at a time.
  const filters = one("[data-filters]");
  if (filters) {
    const PAGE = 10;
    let limit = PAGE;
    const rows = all("ol.rows > li").map((item) => ({
      item,
      text: one(".text", item).textContent.toLowerCase(),
      apart: all("[data-apart]", item).map((answer) => ({ student: answer.dataset.student, label: answer.dataset.answer })),
    }));
    const value = (name) => one(`[data-filter="${name}"]`)?.value ?? "";
    const more = one("[data-more]");
    const show = () => {
      const text = value("text").trim().toLowerCase();
      const student = value("student"), teacher = value("teacher"), answer = value("answer"), right = value("right");
      let matching = 0;
      for (const row of rows) {
        const matches =
          (!text || row.text.includes(text)) &&
          (!teacher || row.item.dataset.teacher === teacher) &&
          (!right || row.item.dataset.right === right) &&
          row.apart.some((other) => (!student || other.student === student) && (!answer || other.label === answer));
        if (matches) matching += 1;
        row.item.hidden = !matches || matching > limit;
      }
      const shown = Math.min(matching, limit);
      one("[data-shown]").textContent = matching ? `Showing ${shown} of ${matching} rows` : "No row matches these filters.";
      more.hidden = matching <= limit;
      more.textContent = `Show ${Math.min(PAGE * 2, matching - limit)} more`;
    };
    filters.hidden = false;
    filters.addEventListener("submit", (event) => event.preventDefault());
    filters.addEventListener("input", () => { limit = PAGE; show(); });
    more.addEventListener("click", () => { limit += PAGE * 2; show(); });
    show();
  }

  // On paper nothing stays folded.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = all("details:not([open])");
    for (const item of opened) item.open = true;
  });
  addEventListener("afterprint", () => { for (const item of opened) item.open = false; });
})();

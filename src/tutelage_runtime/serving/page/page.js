"use strict";
// Asks the same routes as every client: /v1/decisions for the answer, /explain for the words.
// Texts and labels are put in as text nodes only.

const byId = (id) => document.getElementById(id);
let students = [];
let latest = 0;

async function ask(path, body) {
  const headers = {};
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const token = byId("token").value.trim();
  if (token) headers["Authorization"] = `Bearer ${token}`;
  const options = { method: body === undefined ? "GET" : "POST", headers };
  if (body !== undefined) options.body = JSON.stringify(body);
  const response = await fetch(path, options);
  let value = null;
  try { value = await response.json(); } catch { /* said below */ }
  if (response.status === 401) byId("token-field").hidden = false;
  if (!response.ok) throw new Error(value?.error?.message ?? `the server said ${response.status}`);
  return { value, by: response.headers.get("X-Answered-By") };
}

function say(text, bad) {
  byId("state").textContent = text;
  byId("state").classList.toggle("bad", Boolean(bad));
}

async function load() {
  try {
    students = (await ask("students")).value.students;
  } catch (error) {
    byId("about").textContent = "";
    say(error.message, true);
    return;
  }
  const select = byId("student");
  select.replaceChildren(...students.map((one, place) => {
    const option = document.createElement("option");
    option.value = String(place);
    option.textContent = one.instructions ? `${one.name}: ${one.instructions}` : one.name;
    return option;
  }));
  byId("student-field").hidden = students.length < 2;
  byId("token-field").hidden = byId("token").value === "" && byId("token-field").hidden;
  say("");
  about();
}

function chosen() { return students[Number(byId("student").value || 0)]; }

function about() {
  const one = chosen();
  if (!one) return;
  const shown = one.labels.slice(0, 12).join(", ");
  const more = one.labels.length > 12 ? ` and ${one.labels.length - 12} more` : "";
  const asked = one.instructions ? ` ${one.instructions}` : "";
  byId("about").textContent = `${one.model} chooses among ${shown}${more}.${asked}`;
  byId("notice").textContent = one.notice ?? "";
  byId("notice").hidden = !one.notice;
}

function percent(value) {
  const shown = 100 * value;
  return `${shown >= 99.95 || shown < 0.05 ? shown.toPrecision(3) : shown.toFixed(1)} %`;
}

function showAnswer(answer, model, by, milliseconds) {
  const best = answer.probabilities.find((one) => one.value === answer.choice);
  byId("choice").textContent = `${answer.choice} (${percent(best.probability)})`;
  const sorted = [...answer.probabilities].sort((a, b) => b.probability - a.probability).slice(0, 20);
  byId("bars").tBodies[0].replaceChildren(...sorted.map((one) => {
    const row = document.createElement("tr");
    row.classList.toggle("best", one === best);
    const name = document.createElement("th");
    name.scope = "row";
    name.textContent = one.value;
    const bar = document.createElement("td");
    bar.className = "bar";
    const track = document.createElement("div");
    track.className = "track";
    const fill = document.createElement("div");
    fill.className = "fill";
    fill.style.width = `${100 * one.probability}%`;
    track.append(fill);
    bar.append(track);
    const number = document.createElement("td");
    number.className = "number";
    number.textContent = percent(one.probability);
    row.append(name, bar, number);
    return row;
  }));
  byId("who").textContent =
    `Answered by ${by === "student" || !by ? "the student" : by}, ${model}, in ${milliseconds.toFixed(0)} ms with the way here and back.`;
}

function showWords(text, found) {
  const largest = Math.max(...found.words.map((one) => Math.abs(one.change)), 1e-9);
  const parts = [];
  let end = 0;
  // The server counts characters, this language counts halves of some.
  const characters = Array.from(text);
  const slice = (from, to) => characters.slice(from, to).join("");
  for (const word of found.words) {
    parts.push(document.createTextNode(slice(end, word.start)));
    const mark = document.createElement("span");
    mark.textContent = slice(word.start, word.end);
    const share = Math.abs(word.change) / largest;
    mark.title = `${word.change >= 0 ? "+" : "−"}${Math.abs(100 * word.change).toFixed(2)} points for ${found.label}`;
    if (Math.abs(word.change) >= 0.0005 && share >= 0.05) {
      mark.className = `${word.change > 0 ? "for" : "against"} s${Math.min(4, Math.ceil(share * 4))}`;
    }
    parts.push(mark);
    end = word.end;
  }
  parts.push(document.createTextNode(slice(end)));
  byId("words").replaceChildren(...parts);
}

async function answer(event) {
  event.preventDefault();
  const one = chosen();
  const text = byId("text").value;
  if (!one) { await load(); return; }
  if (!text.trim()) { say("Type a text first.", true); return; }
  const turn = ++latest;
  say("Asking…");
  try {
    const question = {
      type: "choice",
      name: one.name,
      instructions: one.instructions ?? "",
      choices: one.labels.map((label) => ({ value: label })),
    };
    const start = performance.now();
    const { value, by } = await ask("v1/decisions", { model: one.model, input: text, questions: [question] });
    const milliseconds = performance.now() - start;
    const found = (await ask("explain", { text, student: one.name })).value;
    if (turn !== latest) return;
    const [given] = value.answers;
    if (given.type !== "choice") throw new Error("the question was refused");
    showAnswer(given, value.model, by, milliseconds);
    showWords(text, found);
    byId("answer").hidden = false;
    say(found.label === given.choice ? "" : `The words are those for ${found.label}, the student's own answer.`);
  } catch (error) {
    if (turn === latest) say(error.message, true);
  }
}

byId("ask").addEventListener("submit", answer);
byId("student").addEventListener("change", about);
byId("token").addEventListener("change", load);
byId("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("ask").requestSubmit();
});
load();

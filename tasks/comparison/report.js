(function () {
  "use strict";
  // Texts go in as text only: nothing of a model or a user becomes markup.
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.getElementById("browse");
  const PAGE = 25;
  const make = (tag, name, text) => {
    const node = document.createElement(tag);
    if (name) node.className = name;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const tools = make("div", "tools");
  const labelled = (text, node) => {
    const label = make("label", "", text);
    label.append(node);
    tools.append(label);
    return node;
  };
  const search = labelled("Search in all texts", make("input"));
  search.type = "search";
  const choices = (text, options) => {
    const select = labelled(text, make("select"));
    for (const [value, name] of options) {
      const option = make("option", "", name);
      option.value = value;
      select.append(option);
    }
    return select;
  };
  const judged = data.rows.some((row) => row[2] !== null);
  const filters = [["", "all of them"]];
  data.variants.forEach((name, n) => {
    if (judged) filters.push(["only" + n, "only " + name + " is right"], ["wrong" + n, name + " is wrong"]);
  });
  if (judged) filters.push(["none", "nobody is right"]);
  filters.push(["failed", "one has no answer"]);
  const filter = choices("Show", filters);
  const sort = choices("Order", [["", "as in the input"], ["id", "custom_id"], ["reference", "reference"], ["long", "longest answers first"], ["short", "shortest request first"]]);
  const count = make("p", "sub");
  count.setAttribute("aria-live", "polite");
  const list = make("div");
  const more = make("button", "", "Show more");
  more.type = "button";
  root.append(tools, count, list, more);
  const length = (row) => row[3].reduce((sum, text) => sum + (text || "").length, 0);
  const orders = {
    id: (a, b) => a[0].localeCompare(b[0], undefined, { numeric: true }),
    reference: (a, b) => (a[2] || "").localeCompare(b[2] || ""),
    long: (a, b) => length(b) - length(a),
    short: (a, b) => a[1].length - b[1].length,
  };
  const keeps = (row) => {
    const right = row[4], what = filter.value, n = Number(what.replace(/\D/g, ""));
    if (what.startsWith("only")) return right[n] === 1 && right.every((each, m) => m === n || each !== 1);
    if (what.startsWith("wrong")) return row[2] !== null && right[n] === 0;
    if (what === "none") return row[2] !== null && !right.includes(1);
    if (what === "failed") return right.includes(2);
    return true;
  };
  const marked = (node, text, words) => {
    const at = words ? text.toLowerCase().indexOf(words) : -1;
    if (at < 0) node.append(text);
    else node.append(text.slice(0, at), make("mark", "", text.slice(at, at + words.length)), text.slice(at + words.length));
    return node;
  };
  const card = (row, words) => {
    const node = make("article", "case");
    const head = make("header");
    head.append(marked(make("code"), row[0], words));
    if (row[2] !== null) head.append(" · reference: ", make("b", "", row[2]));
    const answers = make("div", "answers");
    row[3].forEach((text, n) => {
      const each = make("div", "s" + (n % 10));
      const name = make("b", "", data.variants[n] + " ");
      const state = row[4][n];
      if (state === 2) name.append(make("span", "muted", "no answer"));
      else if (row[2] !== null) name.append(make("span", state === 1 ? "right" : "wrongtext", state === 1 ? "✓ right" : "✗ wrong"));
      each.append(name, marked(make("pre"), text === null ? "(no text)" : text, words));
      answers.append(each);
    });
    node.append(head, marked(make("div", "request"), row[1], words), answers);
    return node;
  };
  let found = [], shown = 0;
  const extend = () => {
    const words = search.value.trim().toLowerCase();
    found.slice(shown, shown + PAGE).forEach((row) => list.append(card(row, words)));
    shown = Math.min(found.length, shown + PAGE);
    more.hidden = shown >= found.length;
    count.textContent = found.length.toLocaleString("en") + (found.length === 1 ? " request" : " requests") + ", " + shown.toLocaleString("en") + " shown";
  };
  const update = () => {
    const words = search.value.trim().toLowerCase();
    const texts = (row) => [row[0], row[1], row[2], ...row[3]];
    found = data.rows.filter((row) => keeps(row) && (!words || texts(row).some((text) => text && text.toLowerCase().includes(words))));
    if (orders[sort.value]) found.sort(orders[sort.value]);
    list.replaceChildren();
    shown = 0;
    extend();
  };
  search.addEventListener("input", update);
  filter.addEventListener("change", update);
  sort.addEventListener("change", update);
  more.addEventListener("click", extend);
  update();
})();

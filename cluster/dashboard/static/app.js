// The dashboard's script: keeps pages alive, brings films, and helps forms. Pages work without it, but for uploads.

const $ = (query, root = document) => root.querySelector(query);
const $$ = (query, root = document) => [...root.querySelectorAll(query)];
const csrf = () => $('meta[name="csrf"]')?.content ?? "";
const say = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name] ?? "");

// --- Parts of a page that change ------------------------------------------------------------------------------------

/** Make `old` like `fresh` and leave alone what is alike, so that focus, ticks and open details stay. */
function morph(old, fresh) {
  if ("keep" in (old.dataset ?? {})) return; // changed by this page on purpose
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const keyed = new Map([...old.children].filter((c) => c.dataset?.key).map((c) => [c.dataset.key, c]));
  let at = old.firstChild;
  for (const want of [...fresh.childNodes]) {
    const same = want.dataset?.key ? keyed.get(want.dataset.key) : at;
    if (same && same !== at) old.insertBefore(same, at);
    if (same && same.nodeName === want.nodeName && (same.dataset?.key ?? "") === (want.dataset?.key ?? "")) {
      if (want.nodeType === Node.ELEMENT_NODE) morph(same, want);
      else if (same.nodeValue !== want.nodeValue) same.nodeValue = want.nodeValue;
      at = same.nextSibling;
    } else {
      old.insertBefore(want, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

const REST = 700; // milliseconds between two looks, so that a busy farm doesn't keep a page busy

class Live {
  constructor(place) {
    this.place = place;
    this.last = 0;
    this.open();
    document.addEventListener("visibilitychange", () => !document.hidden && this.missed && this.soon());
    if ("once" in place.dataset) this.soon();
    if (place.dataset.every) setInterval(() => this.soon(), Number(place.dataset.every) * 1000);
  }

  open() {
    if (!this.place.dataset.events) return;
    const source = new EventSource(this.place.dataset.events);
    for (const kind of ["job", "gone", "progress", "reset"]) source.addEventListener(kind, () => this.soon());
    source.addEventListener("open", () => {
      this.soon(); // what happened since the page was drawn
      this.lost = false;
      $("#away").hidden = true;
    });
    source.addEventListener("error", () => {
      this.lost = true;
      clearTimeout(this.telling);
      this.telling = setTimeout(() => { $("#away").hidden = !this.lost; }, 1500);
      if (source.readyState !== EventSource.CLOSED) return; // the browser tries again
      this.soon(); // which also finds out that the session has ended
      setTimeout(() => this.open(), 3000);
    });
  }

  soon() {
    this.missed = document.hidden;
    if (this.due || document.hidden) return;
    this.due = setTimeout(() => this.look(), Math.max(0, this.last + REST - Date.now()));
  }

  async look() {
    try {
      const answer = await fetch(this.place.dataset.live, { headers: { "X-Fragment": "1" } });
      if (answer.status === 401) return location.reload();
      if (answer.ok) {
        const fresh = this.place.cloneNode(false);
        fresh.innerHTML = await answer.text();
        morph(this.place, fresh);
        this.lost = false;
        $("#away").hidden = true;
        document.dispatchEvent(new Event("fresh"));
      }
    } catch { /* the farm is away; the event stream tells when it is back */ }
    this.last = Date.now();
    this.due = undefined;
  }
}

// --- Forms ----------------------------------------------------------------------------------------------------------

function bulk() {
  const bar = $("#bulkbar");
  if (!bar) return;
  const ticked = $$('input[name="job"]:checked');
  const all = $$('input[name="job"]:not(:disabled)');
  bar.hidden = !ticked.length;
  const count = $("[data-count]", bar);
  count.textContent = say(count.dataset.count, { n: ticked.length });
  for (const button of $$("[data-move]", bar)) {
    button.disabled = !ticked.some((each) => each.dataset.moves.split(" ").includes(button.dataset.move));
  }
  const whole = $("#all");
  if (whole) {
    whole.checked = all.length > 0 && ticked.length === all.length;
    whole.indeterminate = ticked.length > 0 && ticked.length < all.length;
  }
}

document.addEventListener("fresh", bulk);
document.addEventListener("change", (event) => {
  if (event.target.id === "all") {
    for (const each of $$('input[name="job"]:not(:disabled)')) each.checked = event.target.checked;
  }
  if (event.target.matches("[data-submit]")) event.target.form.requestSubmit();
  bulk();
});
// Enter in a form's field presses its first button, whatever that does: here it does what it is next to.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !event.target.closest?.("#bulk")) return;
  if (event.target.matches('input[type="checkbox"]')) {
    event.preventDefault();
    $("#bulkbar button:not(:disabled)")?.focus();
  } else if (event.target.matches('#bulkbar input[name="priority"]')) {
    event.preventDefault();
    event.target.parentElement.querySelector("button").click();
  }
});
document.addEventListener("submit", (event) => {
  const button = event.submitter;
  if (!button?.dataset.sure) return;
  event.preventDefault();
  const dialog = $("#sure");
  $("#sure-text").textContent = button.dataset.sure;
  dialog.returnValue = "no";
  dialog.onclose = () => {
    if (dialog.returnValue !== "yes") return button.focus();
    const text = button.dataset.sure;
    delete button.dataset.sure;
    event.target.requestSubmit(button);
    button.dataset.sure = text;
  };
  dialog.showModal();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const field = $(button.dataset.copy);
  field.select();
  // Pages by plain HTTP from elsewhere may only use the old way.
  await (navigator.clipboard?.writeText(field.value) ?? document.execCommand("copy"));
  $("span", button).textContent = button.dataset.copied;
});

// --- Films ----------------------------------------------------------------------------------------------------------

if ($("#drop")) {
  const { Uploads } = await import("./upload.js");
  new Uploads($("#drop"), csrf, say);
}
if ($("#compare")) {
  const { Compare } = await import("./compare.js");
  const { Keys } = await import("./keys.js");
  new Keys(new Compare($("#compare")));
}
if ($("[data-person]") || $("#ask")) {
  const { People } = await import("./people.js");
  new People();
}
for (const place of $$("[data-live]")) new Live(place);
bulk();
document.documentElement.dataset.ready = ""; // everything that is done by script is, from now on

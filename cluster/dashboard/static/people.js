// The page of people: choosing several, dragging one onto another, forms in a dialog, originals on demand.

const $ = (query, root = document) => root.querySelector(query);
const $$ = (query, root = document) => [...root.querySelectorAll(query)];

export class People {
  constructor() {
    this.bar();
    const gone = (picture) => {
      if (picture.matches?.(".face-tile > img")) picture.hidden = true; // what is below it says enough
    };
    document.addEventListener("error", (event) => gone(event.target), true);
    for (const picture of $$(".face-tile > img")) if (picture.complete && !picture.naturalWidth) gone(picture);
    document.addEventListener("keydown", (event) => event.key === "Escape" && this.leave());
    document.addEventListener("fresh", () => this.bar());
    document.addEventListener("change", () => this.bar());
    document.addEventListener("click", (event) => this.click(event));
    for (const kind of ["dragstart", "dragover", "dragleave", "drop", "dragend"]) {
      document.addEventListener(kind, (event) => this[kind](event));
    }
  }

  /** What can be done with those that are chosen. */
  bar() {
    const bar = $("#together");
    if (!bar) return;
    const chosen = $$('input[form="together"]:checked');
    bar.hidden = chosen.length < 1;
    const count = $("[data-count]", bar);
    count.textContent = count.dataset.count.replace("{n}", chosen.length);
    $("button", bar).disabled = chosen.length < 2;
    for (const each of $$("[data-person]")) each.classList.toggle("chosen", !!$("input:checked", each.querySelector("header")));
    $('#together input[name="tag"]').value = $('#live input[name="tag"]')?.value ?? $('#together input[name="tag"]').value;
  }

  /** The menus of cards, but for one. */
  close(but = null) {
    for (const menu of $$("details.more[open]")) if (menu !== but) menu.open = false;
  }

  /** Close the menu in which one is, and stay beside it. */
  leave() {
    const menu = document.activeElement?.closest("details.more[open]");
    this.close();
    if (menu) $("summary", menu).focus();
  }

  click(event) {
    this.close(event.target.closest("details.more"));
    const form = event.target.closest("a[data-dialog]");
    const original = event.target.closest("a[data-before]");
    if (event.target.closest("dialog [data-close]")) {
      event.preventDefault();
      $("#ask").close();
    } else if (form && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      this.ask(form);
    } else if (original) {
      event.preventDefault();
      this.look(original);
    } else if (event.target.closest("a[data-zoom]")) {
      event.preventDefault();
      this.zoom(event.target.closest("[data-person]"));
    } else if (event.target.closest("svg[data-compare] [data-at]")) {
      const { at } = event.target.closest("[data-at]").dataset;
      location.assign(`${event.target.closest("svg").dataset.compare}?at=${at}`);
    }
  }

  async ask(link) {
    this.close();
    const answer = await fetch(link.href, { headers: { "X-Fragment": "1" } }).catch(() => null);
    if (!answer?.ok) return location.assign(link.href); // which tells why
    const dialog = $("#ask");
    dialog.innerHTML = await answer.text();
    dialog.onclose = () => ($("summary", link.closest("details")) ?? link).focus(); // the menu is closed
    dialog.showModal();
  }

  /** What is shown of somebody, larger. It is painted from what is here, so that no original is asked for again. */
  zoom(card) {
    const pictures = $$(".face-tile > img", card).filter((each) => !each.hidden && each.naturalWidth);
    if (!pictures.length) return;
    const dialog = $("#ask");
    dialog.innerHTML = '<h2 id="ask-title"></h2><div class="zoom"></div><div class="row end"><button data-close autofocus></button></div>';
    $("h2", dialog).textContent = $("h2", card).textContent;
    $("button", dialog).textContent = dialog.dataset.close;
    for (const picture of pictures) {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
      canvas.getContext("2d").drawImage(picture, 0, 0);
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", picture.alt || picture.parentElement.getAttribute("aria-label"));
      $(".zoom", dialog).append(canvas);
    }
    dialog.onclose = () => $("a[data-zoom]", card).focus();
    dialog.showModal();
  }

  /** Each time it is shown, it is asked for anew, and the farm notes it. */
  look(link) {
    const there = $("img", link);
    if (there) {
      there.remove();
      link.classList.remove("shown");
      return;
    }
    const picture = new Image();
    picture.alt = link.dataset.before;
    picture.onload = () => link.classList.add("shown");
    picture.onerror = () => picture.remove();
    picture.src = link.href;
    link.prepend(picture);
  }

  dragstart(event) {
    const card = event.target.closest?.("[data-person]");
    this.dragged = card?.draggable ? card.dataset.person : null;
    if (this.dragged) event.dataTransfer.setData("text/plain", card.querySelector("h2").textContent);
  }

  target(event) {
    const card = event.target.closest?.("[data-person]");
    return this.dragged && card && card.dataset.person !== this.dragged ? card : null;
  }

  dragover(event) {
    const card = this.target(event);
    if (!card) return;
    event.preventDefault();
    card.classList.add("over");
  }

  dragleave(event) {
    event.target.closest?.("[data-person]")?.classList.remove("over");
  }

  drop(event) {
    const card = this.target(event);
    if (!card) return;
    event.preventDefault();
    const both = [this.dragged, card.dataset.person];
    for (const box of $$('input[form="together"]')) box.checked = both.includes(box.value);
    this.bar();
    $("#together button").click();
  }

  dragend() {
    this.dragged = null;
    for (const card of $$(".person.over")) card.classList.remove("over");
  }
}

// Watching a film by the keyboard: space plays and stops, arrows go by a frame, with Shift by a second.

const TYPED = "input, textarea, select, button, a, summary, dialog"; // they have keys of their own

export class Keys {
  constructor(compare) {
    this.compare = compare;
    if (!compare.find("play")) return; // a picture has no time
    compare.find("keys").hidden = false;
    document.addEventListener("keydown", (event) => this.key(event));
  }

  key(event) {
    const { compare } = this;
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.(TYPED)) return;
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (event.key === " ") {
      if (!event.repeat) compare.toggle();
    } else if (way && event.shiftKey) {
      compare.go(compare.after.currentTime + way);
    } else if (way) {
      compare.step(way);
    } else {
      return;
    }
    event.preventDefault();
  }
}

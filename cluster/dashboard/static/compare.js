// Before and after, playing in step, on the same frame.

const DRIFT = 0.04; // seconds that the two may be apart while they play

/** A picture, or an animation that plays by itself, with what is asked of a film here. */
class Still {
  constructor(picture) {
    Object.assign(this, { picture, paused: true, currentTime: 0, duration: NaN });
  }

  get error() {
    return this.picture.complete && !this.picture.naturalWidth;
  }

  get readyState() {
    return this.picture.complete ? 4 : 0;
  }

  get videoWidth() {
    return this.picture.naturalWidth;
  }

  get videoHeight() {
    return this.picture.naturalHeight;
  }

  addEventListener(kind, then, options) {
    this.picture.addEventListener(kind === "loadedmetadata" ? "load" : kind, then, options);
  }

  pause() {}

  play() {}
}

const shown = (element) => (element instanceof HTMLImageElement ? new Still(element) : element);

export class Compare {
  constructor(place) {
    const find = (id) => place.querySelector(`#${id}`);
    Object.assign(this, { place, after: shown(find("after")), before: shown(find("before")), find });
    this.rate = Number(place.dataset.rate);
    this.begins = Number(place.dataset.begins);
    find("play")?.addEventListener("click", () => this.toggle());
    find("back")?.addEventListener("click", () => this.step(-1));
    find("on")?.addEventListener("click", () => this.step(1));
    find("seek")?.addEventListener("input", (event) => this.go((event.target.value / 1000) * this.after.duration));
    find("slide")?.addEventListener("input", (event) => this.slide(event.target.value));
    for (const button of place.querySelectorAll("[data-jump]")) {
      button.addEventListener("click", () => this.go(Number(button.dataset.jump)));
    }
    for (const kind of ["timeupdate", "seeked", "loadedmetadata", "pause", "play", "ended"]) {
      this.after.addEventListener(kind, () => this.show());
    }
    for (const film of [this.after, this.before]) film?.addEventListener("error", () => this.broke());
    if (this.after.error || this.before?.error) this.broke();
    find("only")?.addEventListener("click", () => this.alone());
    if (find("missed")) new Marking(this, find("missed"), find("drawing"));
    this.slide(50);
    const at = Number(new URLSearchParams(location.search).get("at"));
    if (at > 0) this.after.readyState ? this.go(at) : this.after.addEventListener("loadedmetadata", () => this.go(at), { once: true });
    this.show();
    const frame = () => (this.match(), requestAnimationFrame(frame));
    if (this.before) frame();
  }

  toggle() {
    if (!this.after.paused) return this.after.pause();
    this.match(true);
    this.after.play();
    this.before?.play();
  }

  step(frames) {
    this.after.pause();
    if ("uneven" in this.place.dataset) {
      this.stepping = (this.stepping ?? Promise.resolve()).then(() => this.stepTo(frames)); // one after the other
    } else {
      this.stepEven(frames);
    }
  }

  stepEven(frames) {
    // To the middle of a frame, so that rounding shows no other one.
    const now = Math.floor(this.after.currentTime * this.rate + 0.01);
    this.go((now + frames + 0.5) / this.rate);
  }

  /** Where frames last differently long, the farm knows when they are; not any more when the film is released. */
  async stepTo(frames) {
    const now = await this.look(`at=${this.after.currentTime.toFixed(6)}`);
    const next = now && (await this.look(`frame=${Math.max(0, now.frame + frames)}`));
    if (next) this.go((next.begins + next.ends) / 2);
    else this.stepEven(frames);
  }

  async look(what) {
    const answer = await fetch(`${this.place.dataset.frames}?${what}`).catch(() => null);
    return answer?.ok ? answer.json() : null;
  }

  go(seconds) {
    if (!Number.isFinite(this.after.duration)) {
      // Not loaded yet: the last place that was asked for is gone to once it is.
      if (this.later === undefined) this.after.addEventListener("loadedmetadata", () => this.go(this.later), { once: true });
      this.later = seconds;
      return;
    }
    this.later = undefined;
    this.after.currentTime = Math.min(Math.max(0, seconds), this.after.duration);
    this.match(true);
    this.show();
  }

  /** Let the original follow. */
  match(exactly = false) {
    if (!this.before || this.before.readyState < 1) return;
    const wanted = this.after.currentTime + this.begins;
    if (this.after.paused && !this.before.paused) this.before.pause();
    const apart = Math.abs(this.before.currentTime - wanted);
    if (!this.before.seeking && apart > (exactly || this.after.paused ? 0.001 : DRIFT)) this.before.currentTime = wanted;
  }

  /** Only the result. */
  alone() {
    if (this.before) return;
    this.find("cover")?.remove();
    this.place.classList.add("alone");
  }

  /** The frame that is shown; of the film, from 0. */
  get frame() {
    return Math.floor((this.after.currentTime + this.begins) * this.rate + 0.01);
  }

  slide(share) {
    this.place.style.setProperty("--share", `${share}%`);
  }

  show() {
    const { currentTime, duration, paused } = this.after;
    const play = this.find("play");
    if (!play) return this.marking?.follow(); // a picture has no time
    play.textContent = paused ? play.dataset.play : play.dataset.pause;
    if (Number.isFinite(duration) && duration > 0) this.find("seek").value = (currentTime / duration) * 1000;
    for (const end of ["x1", "x2"]) this.find("here")?.setAttribute(end, (currentTime / duration) * 1000 || 0);
    const whole = Math.floor(currentTime + this.begins);
    this.find("clock").textContent = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}${"uneven" in this.place.dataset ? "" : ` · ${this.frame}`}`;
    this.marking?.follow();
  }

  broke() {
    this.find("broken").textContent = this.place.dataset.broken;
    this.find("broken").hidden = false;
  }
}

/** A box over a face that was missed: drawn on the picture, or given in numbers. */
class Marking {
  constructor(compare, place, drawing) {
    Object.assign(this, { compare, place, drawing, fields: place.querySelector("form").elements });
    compare.marking = this;
    place.addEventListener("toggle", () => this.toggle());
    place.addEventListener("input", (event) => this.typed(event.target));
    drawing.addEventListener("pointerdown", (event) => this.begin(event));
    drawing.addEventListener("pointermove", (event) => this.from && this.draw(this.at(event)));
    for (const kind of ["pointerup", "pointercancel"]) drawing.addEventListener(kind, () => { this.from = null; });
    const { frame } = this.fields;
    if (frame.value !== frame.defaultValue) this.typed(frame); // people may be quicker than the script
    if (place.open) this.toggle();
  }

  toggle() {
    this.drawing.toggleAttribute("hidden", !this.place.open);
    if (!this.place.open) return;
    const { videoWidth, videoHeight } = this.compare.after;
    this.size = [videoWidth, videoHeight];
    this.drawing.setAttribute("viewBox", `0 0 ${videoWidth} ${videoHeight}`); // lies as the picture does
    this.compare.after.pause();
    this.compare.alone();
    this.follow();
    this.show();
  }

  /** Tell which frame is shown: roughly at once, exactly when the farm has looked it up. */
  async follow() {
    const { after, frame } = this.compare;
    if (!this.place.open || document.activeElement === this.fields.frame || this.compare.later !== undefined) return;
    const at = after.currentTime;
    if (at !== this.asked) this.fields.frame.value = frame;
    if (!after.paused || at === this.asked) return;
    this.asked = at;
    const exact = await this.compare.look(`at=${at.toFixed(6)}`);
    if (exact && at === after.currentTime) this.fields.frame.value = exact.frame;
  }

  at(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.drawing.getScreenCTM().inverse());
    return [Math.min(Math.max(0, x), this.size[0]), Math.min(Math.max(0, y), this.size[1])];
  }

  begin(event) {
    event.preventDefault();
    this.compare.after.pause();
    this.drawing.setPointerCapture(event.pointerId);
    this.from = this.at(event);
    this.draw(this.from);
  }

  draw([x, y]) {
    const [x0, y0] = this.from;
    const box = { left: Math.min(x, x0), top: Math.min(y, y0), wide: Math.abs(x - x0), high: Math.abs(y - y0) };
    for (const [name, value] of Object.entries(box)) this.fields[name].value = Math.round(value);
    this.show();
  }

  async typed(field) {
    this.show();
    if (field.name !== "frame" || field.value === "") return;
    const wanted = field.value;
    this.compare.go((Number(wanted) + 0.5) / this.compare.rate - this.compare.begins);
    const exact = await this.compare.look(`frame=${Number(wanted)}`);
    if (exact && field.value === wanted) this.compare.go((exact.begins + exact.ends) / 2);
  }

  show() {
    const rect = this.drawing.firstElementChild;
    for (const [name, field] of [["x", "left"], ["y", "top"], ["width", "wide"], ["height", "high"]]) {
      rect.setAttribute(name, Number(this.fields[field].value) || 0);
    }
  }
}

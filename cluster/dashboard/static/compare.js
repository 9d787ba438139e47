// Before and after, playing in step, on the same frame.

const DRIFT = 0.04; // seconds that the two may be apart while they play

export class Compare {
  constructor(place) {
    const find = (id) => place.querySelector(`#${id}`);
    Object.assign(this, { place, after: find("after"), before: find("before"), find });
    this.rate = Number(place.dataset.rate);
    this.begins = Number(place.dataset.begins);
    find("play").addEventListener("click", () => this.toggle());
    find("back").addEventListener("click", () => this.step(-1));
    find("on").addEventListener("click", () => this.step(1));
    find("seek").addEventListener("input", (event) => this.go((event.target.value / 1000) * this.after.duration));
    find("slide")?.addEventListener("input", (event) => this.slide(event.target.value));
    for (const button of place.querySelectorAll("[data-jump]")) {
      button.addEventListener("click", () => this.go(Number(button.dataset.jump)));
    }
    for (const kind of ["timeupdate", "seeked", "loadedmetadata", "pause", "play", "ended"]) {
      this.after.addEventListener(kind, () => this.show());
    }
    for (const film of [this.after, this.before]) film?.addEventListener("error", () => this.broke());
    if (this.after.error || this.before?.error) this.broke();
    this.slide(50);
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
    // To the middle of a frame, so that rounding shows no other one.
    const now = Math.floor(this.after.currentTime * this.rate + 0.01);
    this.go((now + frames + 0.5) / this.rate);
  }

  go(seconds) {
    if (!Number.isFinite(this.after.duration)) return;
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

  slide(share) {
    this.place.style.setProperty("--share", `${share}%`);
  }

  show() {
    const { currentTime, duration, paused } = this.after;
    const play = this.find("play");
    play.textContent = paused ? play.dataset.play : play.dataset.pause;
    if (Number.isFinite(duration) && duration > 0) this.find("seek").value = (currentTime / duration) * 1000;
    for (const end of ["x1", "x2"]) this.find("here")?.setAttribute(end, (currentTime / duration) * 1000 || 0);
    const whole = Math.floor(currentTime + this.begins);
    const frame = Math.floor((currentTime + this.begins) * this.rate + 0.01);
    this.find("clock").textContent = `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")} · ${frame}`;
  }

  broke() {
    this.find("broken").textContent = this.place.dataset.broken;
    this.find("broken").hidden = false;
  }
}

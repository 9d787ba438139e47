// Brings films by tus (https://tus.io): in pieces, again from where it broke off, also after the page was closed.

const PIECE = 8 << 20; // bytes of one request
const PATIENCE = 30; // tries in a row that bring nothing
const TUS = { "Tus-Resumable": "1.0.0" };

const size = (bytes) => {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const power = bytes > 0 ? Math.min(units.length - 1, Math.floor(Math.log10(bytes) / 3)) : 0;
  return `${(bytes / 1000 ** power).toLocaleString(document.documentElement.lang, { maximumFractionDigits: power ? 1 : 0 })} ${units[power]}`;
};
const rest = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

class Refused extends Error {}

export class Uploads {
  constructor(place, csrf, say) {
    Object.assign(this, { place, csrf, say, queue: [], open: 0 });
    const files = document.querySelector("#files");
    const chosen = () => {
      this.take(files.files);
      files.value = "";
    };
    files.addEventListener("change", chosen);
    chosen(); // what was chosen before this script was there
    let depth = 0;
    const films = (event) => event.dataTransfer?.types.includes("Files");
    document.addEventListener("dragenter", (event) => films(event) && (depth++, place.classList.add("over")));
    document.addEventListener("dragleave", (event) => films(event) && --depth <= 0 && place.classList.remove("over"));
    document.addEventListener("dragover", (event) => films(event) && event.preventDefault());
    document.addEventListener("drop", (event) => {
      if (!films(event)) return;
      event.preventDefault();
      depth = 0;
      place.classList.remove("over");
      this.take(event.dataTransfer.files);
    });
    addEventListener("beforeunload", (event) => this.open && event.preventDefault());
  }

  take(files) {
    for (const file of files) {
      const item = document.querySelector("#upload-item").content.cloneNode(true).firstElementChild;
      item.querySelector(".up-name").textContent = file.name;
      item.querySelector("progress").setAttribute("aria-label", file.name);
      document.querySelector("#uploads").append(item);
      this.tell(item, "waiting");
      this.queue.push([file, item]);
      this.open++;
    }
    if (this.queue.length) this.running ??= this.work();
  }

  tell(item, what, values = {}) {
    item.querySelector(".up-what").textContent = this.say(this.place.dataset[what], values);
  }

  async work() {
    for (let next = this.queue.shift(); next; next = this.queue.shift()) {
      const [file, item] = next;
      try {
        await this.bring(file, item);
        item.classList.add("good");
        item.querySelector("progress").value = 1;
        this.tell(item, "done");
      } catch (error) {
        item.classList.add("bad");
        this.tell(item, "failed", { why: error.message });
      }
      this.open--;
    }
    this.running = undefined;
  }

  async ask(method, url, headers = {}, body = undefined) {
    const answer = await fetch(url, { method, headers: { ...headers, "X-CSRF-Token": this.csrf() }, body });
    if (!answer.ok && answer.status < 500 && ![409, 423, 429, 400].includes(answer.status)) {
      const problem = await answer.json().catch(() => ({}));
      throw new Refused(problem.detail ?? answer.status);
    }
    return answer;
  }

  async bring(file, item) {
    const mark = `veilfarm ${file.name} ${file.size} ${file.lastModified}`;
    let url = localStorage.getItem(mark);
    let come = url ? await this.offset(url) : null;
    if (come === null) {
      const name = btoa(String.fromCharCode(...new TextEncoder().encode(file.name)));
      const headers = { ...TUS, "Upload-Length": file.size, "Upload-Metadata": `filename ${name}` };
      const made = await this.ask("POST", "/v1/uploads", headers);
      if (!made.ok) throw new Refused((await made.json()).detail);
      url = made.headers.get("Location");
      localStorage.setItem(mark, url);
      come = 0;
    }
    for (let lost = 0; come < file.size; ) {
      const now = await this.piece(url, file, come, item).catch((error) => {
        if (error instanceof Refused) {
          localStorage.removeItem(mark);
          throw error;
        }
        return null;
      });
      lost = now !== null && now > come ? 0 : lost + 1;
      if (now !== null) come = now;
      if (lost) {
        if (lost > PATIENCE) throw new Refused(this.place.dataset.again);
        this.tell(item, "again");
        await rest(Math.min(lost, 10));
        come = (await this.offset(url).catch(() => come)) ?? come;
      }
    }
    await this.submit(url.split("/").pop());
    localStorage.removeItem(mark);
  }

  /** How many bytes have come; null when the upload is no more, or was used. */
  async offset(url) {
    const answer = await fetch(url, { method: "HEAD", headers: TUS });
    if (answer.status === 404) return null;
    if (!answer.ok) throw new Error(answer.status);
    return Number(answer.headers.get("Upload-Offset"));
  }

  piece(url, file, come, item) {
    return new Promise((done, broke) => {
      const request = new XMLHttpRequest(); // fetch tells nothing of how far it is
      request.open("PATCH", url);
      const headers = { ...TUS, "Upload-Offset": come, "Content-Type": "application/offset+octet-stream" };
      for (const [name, value] of Object.entries({ ...headers, "X-CSRF-Token": this.csrf() })) {
        request.setRequestHeader(name, value);
      }
      request.upload.onprogress = (event) => {
        item.querySelector("progress").value = (come + event.loaded) / file.size;
        this.tell(item, "sending", { done: size(come + event.loaded), all: size(file.size) });
      };
      request.onload = () => {
        if (request.status === 204) done(Number(request.getResponseHeader("Upload-Offset")));
        else if ([401, 403, 404, 413, 415].includes(request.status)) broke(new Refused(JSON.parse(request.response).detail));
        else broke(new Error(request.status));
      };
      request.onerror = () => broke(new Error());
      request.send(file.slice(come, come + PIECE));
    });
  }

  async submit(upload) {
    const wish = { upload, veil: value("#up-veil"), quality: value("#up-quality"), priority: Number(value("#up-priority")) || 0, review: document.querySelector("#up-review").checked };
    const headers = { "Content-Type": "application/json", "Idempotency-Key": upload };
    for (let tries = 0; ; tries++) {
      const answer = await this.ask("POST", "/v1/jobs", headers, JSON.stringify(wish)).catch((error) => {
        if (error instanceof Refused) throw error;
        return null;
      });
      if (answer?.ok) return;
      if (tries > PATIENCE) throw new Refused(this.place.dataset.again);
      await rest(Math.min(tries + 1, 10));
    }
  }
}

const value = (query) => document.querySelector(query).value;

// Asks the server of `stillhouse watch` whether anything is new, and replaces the content when it is. The strip at the
// foot says when that was.
(() => {
  const EVERY_MS = 2000;
  const main = document.querySelector("main"), strip = document.createElement("p");
  strip.className = "live";
  document.body.append(strip);
  let version = null;
  const look = async () => {
    try {
      const state = await (await fetch("state", {cache: "no-store"})).json();
      if (state.version !== version) {
        const body = await (await fetch("body", {cache: "no-store"})).text();
        const y = scrollY, open = [...main.querySelectorAll("details")].map((one) => one.open);
        main.style.minHeight = `${main.offsetHeight}px`;
        main.innerHTML = body;
        main.querySelectorAll("details").forEach((one, i) => { one.open = open[i] ?? false; });
        dispatchEvent(new Event("stillhouse:redraw"));
        scrollTo(0, y);
        setTimeout(() => { main.style.minHeight = ""; }, 1000);
        version = state.version;
      }
      strip.textContent = `live: ${state.words}`;
      strip.classList.toggle("warn", Boolean(state.problem));
    } catch {
      strip.textContent = "the server of stillhouse watch has ended; the page stays as it is";
      strip.classList.add("warn");
    }
    setTimeout(look, EVERY_MS);
  };
  look();
})();

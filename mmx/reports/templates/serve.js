
// The page of mmx serve: sends a form, shows the answer.
(() => {
  const form = document.getElementById("try");
  const token = new URLSearchParams(location.search).get("token");
  for (const link of document.querySelectorAll("a[href]")) {
    if (token) link.search = "?token=" + encodeURIComponent(token);
  }
  if (!form) return;
  const answer = document.getElementById("answer");
  const chances = document.getElementById("chances");
  for (const drop of form.querySelectorAll(".drop")) {
    const input = drop.querySelector("input");
    const name = drop.parentElement.querySelector("[data-name]");
    const preview = drop.parentElement.querySelector("[data-preview]");
    const show = () => {
      const file = input.files[0];
      name.textContent = file ? file.name : "";
      preview.replaceChildren();
      const tag = { image: "img", audio: "audio", video: "video" }[drop.parentElement.dataset.kind];
      if (!file || !tag || file.size > 20e6) return;
      const reader = new FileReader();
      reader.addEventListener("load", () => {
        const media = document.createElement(tag);
        media.className = "preview";
        media.src = reader.result;
        if (tag === "img") media.alt = file.name;
        else media.controls = true;
        preview.replaceChildren(media);
      });
      reader.readAsDataURL(file);
    };
    input.addEventListener("change", show);
    form.addEventListener("reset", () => setTimeout(show));
    for (const kind of ["dragover", "dragenter", "dragleave", "drop"]) {
      drop.addEventListener(kind, (event) => {
        event.preventDefault();
        drop.classList.toggle("over", kind === "dragover" || kind === "dragenter");
        if (kind === "drop" && event.dataTransfer.files.length) {
          input.files = event.dataTransfer.files;
          show();
        }
      });
    }
  }
  const fill = (found) => {
    chances.replaceChildren();
    const { prediction, probabilities } = found;
    answer.textContent = Array.isArray(prediction) ? prediction.join(", ") || "no label" : String(prediction);
    const ranked = Object.entries(probabilities || {}).sort((a, b) => b[1] - a[1]).slice(0, 10);
    for (const [label, chance] of ranked) {
      const row = chances.insertRow();
      row.insertCell().textContent = label;
      const bar = document.createElement("span");
      bar.className = "bar";
      bar.style.width = 100 * chance + "%";
      row.insertCell().append(bar);
      row.insertCell().textContent = chance.toFixed(3);
    }
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    answer.className = "lead";
    answer.textContent = "…";
    chances.replaceChildren();
    const data = new FormData(form);
    for (const [key, value] of [...data.entries()]) {
      if (value instanceof File ? !value.size : !value.trim()) data.delete(key);
    }
    try {
      const headers = token ? { Authorization: "Bearer " + token } : {};
      const reply = await fetch("predict/upload", { method: "POST", body: data, headers });
      const found = await reply.json();
      if (reply.ok) fill(found.answers[0]);
      else throw new Error(found.error);
    } catch (error) {
      answer.className = "lead bad";
      answer.textContent = error.message;
    }
  });
})();

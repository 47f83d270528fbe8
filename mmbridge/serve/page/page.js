// One image, questions about it, answers. Nothing is kept: the page forgets everything when it is closed.

const SIDE = 1024; // models see a few hundred pixels; a larger picture only takes longer to send
const AS_IT_IS = 1_000_000; // bytes of a PNG that is sent unchanged

const [model, file, picture, choose, form, locked, token, question, ask, trouble, answers] = [
  "model", "file", "picture", "choose", "form", "locked", "token", "question", "ask", "trouble", "answers",
].map((id) => document.getElementById(id));
let url = null; // of the image, as it is sent
let asking = false;

async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  if (token.value) headers.Authorization = `Bearer ${token.value}`;
  const response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  if (response.status === 401) locked.hidden = false;
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error.message);
  return answer;
}

function tell(error) {
  trouble.hidden = !error;
  trouble.textContent = error ? error.message : "";
}

function read(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

// Drawn anew, a photograph is upright and as large as it must be; whatever this browser shows can be sent.
async function encode(blob) {
  const bitmap = await createImageBitmap(blob).catch(() => {
    throw new Error("This browser cannot read that file as an image.");
  });
  const scale = Math.min(1, SIDE / Math.max(bitmap.width, bitmap.height));
  picture.classList.toggle("small", Math.max(bitmap.width, bitmap.height) < 200);
  if (scale === 1 && blob.type === "image/png" && blob.size < AS_IT_IS) return read(blob);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.fillStyle = "white";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.95);
}

async function show(blob) {
  try {
    url = await encode(blob);
  } catch (error) {
    return tell(error);
  }
  tell(null);
  picture.src = url;
  picture.hidden = false;
  choose.textContent = "Choose another";
  document.body.classList.add("shown");
  answers.replaceChildren();
  refresh();
  if (matchMedia("(hover: hover)").matches) question.focus({ preventScroll: true }); // a phone's keyboard would hide it
}

function refresh() {
  ask.textContent = asking ? "Looking…" : question.value.trim() ? "Ask" : "Describe";
  ask.disabled = asking || !url;
  document.body.classList.toggle("asking", asking);
}

function add(asked, said) {
  const item = document.createElement("li");
  for (const [kind, text] of [["question", asked], ["said", said]]) {
    const line = document.createElement("p");
    line.className = kind;
    line.textContent = text;
    item.append(line);
  }
  answers.prepend(item);
}

async function submit(event) {
  event.preventDefault();
  if (asking || !url) return;
  const [about, asked] = [url, question.value.trim()];
  const content = [{ type: "image_url", image_url: { url: about } }];
  if (asked) content.push({ type: "text", text: asked });
  asking = true;
  tell(null);
  refresh();
  try {
    const answer = await post("v1/chat/completions", { messages: [{ role: "user", content }] });
    if (about === url) {
      add(asked || "Description", answer.choices[0].message.content || "(no words)");
      question.select();
    }
  } catch (error) {
    tell(error instanceof TypeError ? new Error("The server cannot be reached.") : error);
  }
  asking = false;
  refresh();
}

function first(transfer) {
  return [...(transfer?.files ?? [])].find((one) => one.type.startsWith("image/"));
}

form.addEventListener("submit", submit);
question.addEventListener("input", refresh);
file.addEventListener("change", () => file.files[0] && show(file.files[0]));
addEventListener("paste", (event) => first(event.clipboardData) && show(first(event.clipboardData)));
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  if (first(event.dataTransfer)) show(first(event.dataTransfer));
  else tell(new Error("That is no image file."));
});

async function greet() {
  model.textContent = (await post("v1/models")).data[0].id;
}
token.addEventListener("change", () => greet().then(() => tell(null), tell));
greet().catch((error) => locked.hidden && tell(error));

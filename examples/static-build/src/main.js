const $ = (id) => document.getElementById(id);
const variables = window.huggingface?.variables ?? {};
const HEX = /^#[0-9a-f]{6}$/i;
const CHECKS = [
  ["Large text, AA", 3],
  ["Small text, AA", 4.5],
  ["Large text, AAA", 4.5],
  ["Small text, AAA", 7],
];

const known = (colour, otherwise) => (HEX.test(colour ?? "") ? colour.toLowerCase() : otherwise);
let text = known(variables.TEXT, "#5f4b8b");
let back = known(variables.BACKGROUND, "#ffd166");
if (variables.SITE_TITLE) document.title = document.querySelector("h1").textContent = variables.SITE_TITLE;

const channels = (colour) => [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));

function luminance(colour) {
  const [red, green, blue] = channels(colour)
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}

function contrast(one, other) {
  const [darker, lighter] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (lighter + 0.05) / (darker + 0.05);
}

/** The nearest colour on the way from `colour` to black or white that reads on `ground`. */
function nearest(colour, ground) {
  let best = null;
  for (const end of [0, 255]) {
    for (let step = 1; step <= 100; step++) {
      const mixed = channels(colour).map((value) => Math.round(value + ((end - value) * step) / 100));
      const hex = "#" + mixed.map((value) => value.toString(16).padStart(2, "0")).join("");
      if (contrast(hex, ground) < 4.5) continue;
      if (!best || step < best.step) best = { hex, step };
      break;
    }
  }
  return best?.hex;
}

function draw() {
  const ratio = contrast(text, back);
  $("preview").style.color = text;
  $("preview").style.backgroundColor = back;
  for (const [id, colour] of [["text", text], ["back", back]]) {
    $(id).value = $(`${id}-pick`).value = colour;
    $(id).removeAttribute("aria-invalid");
  }
  $("ratio").textContent = (Math.floor(ratio * 100) / 100).toFixed(2); // never round a failure up to a pass
  $("checks").replaceChildren(
    ...CHECKS.map(([name, least]) => {
      const item = document.createElement("li");
      item.className = ratio >= least ? "pass" : "fail";
      item.textContent = `${ratio >= least ? "✓" : "✗"} ${name}`;
      return item;
    }),
  );
  const better = ratio >= 4.5 ? null : nearest(text, back);
  const advice = $("advice");
  if (better) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: better });
    button.onclick = () => set(better, back);
    advice.replaceChildren("The nearest text colour that passes is ", button);
  } else {
    advice.textContent = ratio >= 7 ? "Everyone can read this." : "Most people can read this.";
  }
}

function set(newText, newBack) {
  text = newText;
  back = newBack;
  draw();
}

function typed(event, apply) {
  const value = event.target.value.trim().replace(/^#?/, "#");
  if (HEX.test(value)) apply(value.toLowerCase());
  else event.target.setAttribute("aria-invalid", "true");
}

$("text").onchange = (event) => typed(event, (value) => set(value, back));
$("back").onchange = (event) => typed(event, (value) => set(text, value));
$("text-pick").oninput = (event) => set(event.target.value, back);
$("back-pick").oninput = (event) => set(text, event.target.value);
$("swap").onclick = () => set(back, text);
for (const pair of document.querySelectorAll(".pair")) {
  pair.onclick = () => {
    set(pair.dataset.text, pair.dataset.back);
    scrollTo({ top: 0 });
  };
}

draw();

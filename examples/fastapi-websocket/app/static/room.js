// Names and messages come from strangers: they are set as text, never as HTML.
const $ = (id) => document.getElementById(id);
const buttons = [$("clap"), document.querySelector("form button")];
let socket;
let me = "";
let wait = 500;
let shown = 0;

function connect() {
  const url = new URL("ws", location.href);
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url);
  socket.onopen = () => {
    wait = 500;
    if ($("name").value) send({ type: "name", name: (me = $("name").value) });
  };
  socket.onmessage = ({ data }) => hear(JSON.parse(data));
  socket.onclose = () => {
    status("Connection lost. Trying again…", false);
    setTimeout(connect, wait);
    wait = Math.min(wait * 2, 10_000);
  };
}

function status(text, live) {
  $("status").textContent = text;
  $("status").classList.toggle("live", live);
  for (const button of buttons) button.disabled = !live;
}

function send(event) {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(event));
}

function hear(event) {
  switch (event.type) {
    case "welcome":
      if (!$("name").value) $("name").value = me = event.name;
      $("messages").replaceChildren();
      shown = 0;
      event.messages.forEach(show);
      claps(event.claps);
      people(event.people);
      break;
    case "message":
      show(event);
      break;
    case "claps":
      claps(event.claps);
      break;
    case "people":
      people(event.people);
      break;
    case "error":
      $("status").textContent = event.error;
  }
}

function claps(number) {
  $("claps").textContent = number.toLocaleString();
  $("clap").classList.remove("beat");
  void $("clap").offsetWidth; // so that the animation starts again
  if (number) $("clap").classList.add("beat");
}

function people(names) {
  status(names.length === 1 ? "You are the only one here" : `${names.length} people here`, true);
  $("people").replaceChildren(
    ...names.map((name) => Object.assign(document.createElement("li"), { textContent: name })),
  );
}

function show({ id, name, text, at }) {
  if (id <= shown) return;
  shown = id;
  const item = document.createElement("li");
  const who = document.createElement("small");
  const what = document.createElement("p");
  const time = new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  who.textContent = `${name} · ${time}`;
  what.textContent = text;
  item.classList.toggle("own", name === me);
  item.append(who, what);
  $("messages").append(item);
  $("messages").scrollTop = $("messages").scrollHeight;
}

$("clap").onclick = () => send({ type: "clap" });
$("name").onchange = () => {
  me = $("name").value.trim() || me;
  $("name").value = me;
  send({ type: "name", name: me });
};
$("say").onsubmit = (event) => {
  event.preventDefault();
  if ($("text").value.trim()) send({ type: "say", text: $("text").value });
  $("text").value = "";
  $("text").focus();
};

connect();

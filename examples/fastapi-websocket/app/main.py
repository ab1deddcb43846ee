"""The Room: everyone with the page open chats and claps together."""

import asyncio
import time
from collections import deque
from contextlib import suppress
from itertools import count
from pathlib import Path

from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

STATIC = Path(__file__).with_name("static")
LONGEST_TEXT, LONGEST_NAME = 500, 24
KEPT_MESSAGES = 50
SLOWEST_SEND_S = 5
BURST, PER_SECOND = 20, 5
"""How many events one person may send at once, and how many a second after that."""

app = FastAPI(title="The Room", docs_url=None, redoc_url=None)


class Room:
    def __init__(self):
        self.people: dict[WebSocket, str] = {}
        self.messages: deque[dict] = deque(maxlen=KEPT_MESSAGES)
        self.claps = 0
        self.guests, self.ids = count(1), count(1)

    def state(self) -> dict:
        return {"people": list(self.people.values()), "claps": self.claps, "messages": list(self.messages)}

    async def tell(self, event: dict):
        await asyncio.gather(*(self.send(socket, event) for socket in list(self.people)))

    async def send(self, socket: WebSocket, event: dict):
        """Sends, and drops whoever does not take it in time: one stuck reader must not hold up a room."""
        try:
            await asyncio.wait_for(socket.send_json(event), SLOWEST_SEND_S)
        except (TimeoutError, asyncio.TimeoutError, RuntimeError, WebSocketDisconnect):
            self.people.pop(socket, None)

    async def hear(self, socket: WebSocket, event):
        kind = event.get("type") if isinstance(event, dict) else None
        if kind == "clap":
            self.claps += 1
            await self.tell({"type": "claps", "claps": self.claps})
        elif kind == "say" and (text := str(event.get("text", "")).strip()[:LONGEST_TEXT]):
            message = {"id": next(self.ids), "name": self.people[socket], "text": text, "at": int(time.time() * 1000)}
            self.messages.append(message)
            await self.tell({"type": "message", **message})
        elif kind == "name" and (name := str(event.get("name", "")).strip()[:LONGEST_NAME]):
            self.people[socket] = name
            await self.tell({"type": "people", "people": list(self.people.values())})
        else:
            await self.send(socket, {"type": "error", "error": 'Send {"type": "say" | "clap" | "name", …}.'})


room = Room()


@app.websocket("/ws")
async def ws(socket: WebSocket):
    await socket.accept()
    room.people[socket] = name = f"Guest {next(room.guests)}"
    allowance, seen = float(BURST), time.monotonic()
    try:
        await room.send(socket, {"type": "welcome", "name": name, **room.state()})
        await room.tell({"type": "people", "people": list(room.people.values())})
        while socket in room.people:
            try:
                event = await socket.receive_json()
            except (ValueError, KeyError):  # not JSON, or not text
                event = None
            now = time.monotonic()
            allowance, seen = min(BURST, allowance + (now - seen) * PER_SECOND), now
            if allowance < 1:
                await room.send(socket, {"type": "error", "error": "Too fast. Wait a second."})
                continue
            allowance -= 1
            await room.hear(socket, event)
    except WebSocketDisconnect:
        pass
    finally:
        room.people.pop(socket, None)
        with suppress(RuntimeError):
            await socket.close()
        await room.tell({"type": "people", "people": list(room.people.values())})


@app.get("/state")
async def state() -> dict:
    return room.state()


@app.get("/")
async def page() -> FileResponse:
    return FileResponse(STATIC / "index.html")


app.mount("/static", StaticFiles(directory=STATIC), name="static")

/** Small pieces of text. Everything here takes what strangers wrote: it must not fail on any of it. */
import type { Space } from "../api/client";

const COLOURS = new Set(["red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray"]);
const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });

/** Longest emoji we draw, in UTF-16 units: families and flags fit, towers of accents do not. */
const LONGEST_EMOJI = 16;

export function titleOf(space: Space): string {
  const title = space.cardData?.title;
  return (typeof title === "string" && title.trim()) || space.id.slice(space.id.indexOf("/") + 1);
}

export function emojiOf(space: Space): string {
  const emoji = space.cardData?.emoji;
  const source = typeof emoji === "string" && emoji.trim() ? emoji.trim() : titleOf(space).toUpperCase();
  for (const { segment } of segmenter.segment(source)) return segment.length <= LONGEST_EMOJI ? segment : "";
  return "";
}

/** A colour of the Hub's eight, or `gray`. */
export function colourOf(name: unknown): string {
  return typeof name === "string" && COLOURS.has(name) ? name : "gray";
}

/** The app's address, at the path its author named, when it is one a browser may be sent to. */
export function addressOf(space: Space): string | null {
  if (!space.host || !URL.canParse(space.host)) return null;
  let url = new URL(space.host);
  const path = space.cardData?.base_path;
  if (typeof path === "string" && URL.canParse(path, url.href)) {
    const within = new URL(path, url.href);
    // `//elsewhere` is another host.
    if (within.origin === url.origin) url = within;
  }
  return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
}

/** `8 s`, `3 min 20 s`, `2 h 5 min`. */
export function elapsed(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 10) return `${minutes} min ${seconds % 60} s`;
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
const UNITS = [
  ["year", 365 * 86_400],
  ["month", 30 * 86_400],
  ["day", 86_400],
  ["hour", 3600],
  ["minute", 60],
] as const;

/** `5 minutes ago`, `yesterday`; empty when the date is none. */
export function ago(date: string | null | undefined, now: number): string {
  const seconds = (now - Date.parse(date ?? "")) / 1000;
  if (Number.isNaN(seconds)) return "";
  for (const [unit, size] of UNITS) {
    if (seconds >= size) return relative.format(-Math.floor(seconds / size), unit);
  }
  return "just now";
}

/** Whether every word of the query is somewhere in the Space's words. */
export function matches(space: Space, query: string, stageLabel: string): boolean {
  const card = space.cardData;
  const hay = [space.id, titleOf(space), card?.short_description, space.sdk, stageLabel, ...(space.tags ?? [])]
    .join(" ")
    .toLowerCase();
  return query
    .toLowerCase()
    .split(/\s+/)
    .every((word) => hay.includes(word));
}

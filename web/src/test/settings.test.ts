import { flushSync, mount } from "svelte";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import Root from "../Root.svelte";
import { browserName } from "../lib/browser";
import { placesOf, scopesOf } from "../lib/scopes";
import { hub, json, nobody, tidy, user } from "./hub";

let page: ReturnType<typeof mount> | undefined;
let left: string[];

const token = (name: string, more = {}) => ({
  id: `id-${name}`,
  name,
  role: "read",
  hint: "wxyz",
  createdAt: "2026-01-01T00:00:00Z",
  expiresAt: null,
  lastUsedAt: null,
  ...more,
});
const browser = (id: string, more = {}) => ({
  id,
  current: false,
  createdAt: "2026-01-01T00:00:00Z",
  lastUsedAt: "2026-01-02T03:00:00Z",
  expiresAt: "2026-02-01T00:00:00Z",
  origin: "192.0.2.7",
  userAgent: "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
  ...more,
});

/** A hub with these tokens and browsers, which it gives, makes and ends. */
function account(tokens: ReturnType<typeof token>[], browsers: ReturnType<typeof browser>[], signedIn = user("ada")) {
  return hub(
    async (request) => {
      const { pathname } = new URL(request.url);
      if (pathname === "/api/settings/tokens") {
        if (request.method === "GET") return json(tokens);
        const { name, role } = (await request.clone().json()) as { name: string; role: string };
        if (tokens.some((one) => one.name === name)) return json({ error: `You have a token ${name}` }, { status: 409 });
        tokens.push(token(name, { role }));
        return json({ id: `id-${name}`, name, role, expiresAt: null, token: "hf_only_now" });
      }
      if (pathname === "/api/settings/sessions") return json(browsers);
      if (pathname === "/api/settings/password") {
        browsers.splice(0, browsers.length, ...browsers.filter((one) => one.current));
      }
      return json({});
    },
    () => ({ user: signedIn, provider: null }),
  );
}

async function open() {
  history.replaceState(null, "", "/settings");
  page = mount(Root, { target: document.body });
  await pass();
}
async function pass() {
  await vi.advanceTimersByTimeAsync(0);
  flushSync();
}
const text = () => document.body.textContent?.replace(/\s+/g, " ") ?? "";
async function press(name: string) {
  const named = (one: HTMLElement) => (one.getAttribute("aria-label") ?? one.textContent)?.trim() === name;
  const found = [...document.querySelectorAll<HTMLElement>("button")].find(named);
  if (!found) throw new Error(`no button ${name} in: ${text()}`);
  found.click();
  await pass();
}
function type(selector: string, value: string) {
  const input = document.querySelector<HTMLInputElement>(selector)!;
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  flushSync();
}
async function submit(selector: string) {
  document.querySelector(selector)!.closest("form")!.dispatchEvent(new Event("submit", { cancelable: true }));
  await pass();
}
const sent = (asked: Request[], method: string) => asked.filter((request) => request.method === method);
const bodyOf = async (request: Request | undefined) => JSON.parse((await request?.clone().text()) ?? "") as unknown;

beforeEach(() => {
  vi.useFakeTimers({ now: new Date("2026-01-02T03:04:05Z") });
  left = [];
  vi.spyOn(globalThis.location, "replace").mockImplementation((url) => void left.push(String(url)));
});

afterEach(async () => {
  await tidy(page);
  page = undefined;
});

it("sends whoever is not signed in to sign in, and back", async () => {
  hub(() => json([]), () => nobody);
  await open();
  expect(left).toEqual(["/login?next=%2Fsettings"]);
});

describe("tokens", () => {
  it("are made, shown once, and revoked after a second look", async () => {
    const asked = account([token("laptop", { role: "write", lastUsedAt: "2026-01-02T03:00:00Z" })], [browser("a", { current: true })]);
    await open();
    expect(text()).toContain("Write · ends in wxyz · made yesterday · used 4 minutes ago");
    type("#token-name", " CI ");
    await submit("#token-name");
    expect(await bodyOf(sent(asked, "POST")[0])).toEqual({ name: "CI", role: "read" });
    expect(document.querySelector("pre")?.textContent).toBe("hf_only_now");
    expect(text()).toContain("it is not shown again");
    await press("I have copied it");
    expect(text()).not.toContain("hf_only_now");
    expect(text()).toContain("CI");

    await press("Revoke laptop");
    expect(document.activeElement?.textContent).toBe("Keep it");
    expect(sent(asked, "DELETE")).toEqual([]);
    document.activeElement!.dispatchEvent(new KeyboardEvent("keydown", { key: "Escape", bubbles: true }));
    await pass();
    expect(document.activeElement?.getAttribute("aria-label")).toBe("Revoke laptop");
    await press("Revoke laptop");
    await press("Revoke");
    expect(new URL(sent(asked, "DELETE")[0]!.url).pathname).toBe("/api/settings/tokens/id-laptop");
    expect(text()).not.toContain("laptop");
  });

  it("are for what was chosen", async () => {
    const asked = account([], []);
    await open();
    expect(text()).toContain("No tokens yet.");
    await submit("#token-name");
    expect(document.querySelector("#token-problem")?.textContent).toContain("Give it a name");
    type("#token-name", "bot");
    document.querySelector<HTMLInputElement>("input[value=fineGrained]")!.click();
    flushSync();
    document.querySelector<HTMLInputElement>("input[value='repo.write']")!.click();
    type("#token-places", "spaces/ada/engine\n lab \n\nADA");
    await submit("#token-name");
    const permissions = ["repo.content.read", "repo.write"];
    expect(await bodyOf(sent(asked, "POST")[0])).toEqual({
      name: "bot",
      role: "fineGrained",
      fineGrained: {
        global: [],
        scoped: [{ repo: "spaces/ada/engine", permissions }, { org: "lab", permissions }, { user: "ADA", permissions }],
      },
    });
  });

  it("that cannot be made are explained", async () => {
    account([token("CI")], []);
    await open();
    type("#token-name", "CI");
    await submit("#token-name");
    expect(document.querySelector("[role=alert]")?.textContent).toContain("You have a token CI");
  });
});

describe("the password", () => {
  it("is changed with the current one, and other browsers are gone", async () => {
    const asked = account([], [browser("a", { current: true }), browser("b", { userAgent: "curl/8" })]);
    await open();
    expect(text()).toContain("curl/8");
    type("#current-password", "the old one");
    type("#new-password", "short");
    await submit("#new-password");
    expect(document.querySelector("#new-password-problem")?.textContent).toContain("10 characters");
    type("#new-password", "correct horse");
    await submit("#new-password");
    expect(await bodyOf(sent(asked, "POST")[0])).toEqual({ password: "correct horse", current: "the old one" });
    expect(text()).toContain("The password is set.");
    expect(text()).not.toContain("curl/8");
    expect(document.querySelector<HTMLInputElement>("#new-password")!.value).toBe("");
  });

  it("is not changed with a wrong one", async () => {
    hub(
      (request) =>
        request.method === "POST" ? json({ error: "'current' is not the current password" }, { status: 403 }) : json([]),
      () => ({ user: user("ada"), provider: null }),
    );
    await open();
    type("#current-password", "a guess");
    type("#new-password", "correct horse");
    await submit("#new-password");
    expect(document.querySelector("#current-password-problem")?.textContent).toContain("not your current password");
    expect(document.activeElement?.id).toBe("current-password");
    expect(document.querySelector<HTMLInputElement>("#new-password")!.value).toBe("correct horse");
  });

  it("is set for the first time without one", async () => {
    const asked = account([], [], user("ada", { hasPassword: false }));
    await open();
    expect(document.querySelector("#current-password")).toBeNull();
    type("#new-password", "correct horse");
    await submit("#new-password");
    expect(await bodyOf(sent(asked, "POST")[0])).toEqual({ password: "correct horse", current: null });
  });
});

it("signs another browser out, and not this one by mistake", async () => {
  const asked = account([], [browser("a", { current: true }), browser("b", { userAgent: "curl/8" })]);
  await open();
  expect(text()).toContain("This browser");
  expect(document.querySelectorAll("[aria-label='Browsers'] button").length).toBe(1);
  await press("Sign out curl/8");
  expect(text()).toContain("has to sign in again");
  const group = document.querySelector("[role=group][aria-label='Sign out curl/8?']")!;
  group.querySelector<HTMLButtonElement>("button")!.click();
  await pass();
  expect(new URL(sent(asked, "DELETE")[0]!.url).pathname).toBe("/api/settings/sessions/b");
  expect(text()).not.toContain("curl/8");
});

it("reads what strangers wrote without failing", () => {
  expect(browserName("Mozilla/5.0 (Windows NT 10.0) AppleWebKit Chrome/130 Safari/537 Edg/130")).toBe("Edge on Windows");
  expect(browserName("")).toBe("Unknown browser");
  expect(browserName("x".repeat(500)).length).toBe(60);
  expect(scopesOf(" \n", ["repo.write"], "ada")).toEqual({ global: ["repo.write"], scoped: [] });
  expect(placesOf({ scoped: [{ entity: { type: "model", name: "ada/tiny" } }, { entity: { type: "org", name: "lab" } }] })).toBe("models/ada/tiny, lab");
});

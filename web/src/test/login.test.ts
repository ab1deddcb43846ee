import { flushSync, mount, unmount } from "svelte";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import Root from "../Root.svelte";
import { ownPath } from "../lib/navigate";
import { session } from "../lib/session.svelte";
import { hub, json, nobody, space, tidy, user } from "./hub";

let page: ReturnType<typeof mount> | undefined;
let left: string[];

/** Opens the page at an address of the hub. */
async function open(address: string) {
  history.replaceState(null, "", address);
  page = mount(Root, { target: document.body });
  await pass();
}

async function pass(ms = 0) {
  await vi.advanceTimersByTimeAsync(ms);
  flushSync();
}

const text = () => document.body.textContent?.replace(/\s+/g, " ") ?? "";
function press(name: string) {
  const found = [...document.querySelectorAll<HTMLElement>("button, a")].find((one) => one.textContent?.trim() === name);
  if (!found) throw new Error(`nothing called ${name} in: ${text()}`);
  found.click();
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
const bodyOf = async (request: Request) => JSON.parse(await request.text()) as unknown;

beforeEach(() => {
  vi.useFakeTimers();
  left = [];
  vi.spyOn(globalThis.location, "replace").mockImplementation((url) => void left.push(String(url)));
});

afterEach(async () => {
  await tidy(page);
  page = undefined;
});

describe("with a password", () => {
  it("signs in and comes back to where one was", async () => {
    let who = nobody;
    const asked = hub((request) => {
      expect(new URL(request.url).pathname).toBe("/api/login");
      who = { user: user("ada"), provider: null };
      return json({ name: "ada", expiresAt: "2026-02-01T00:00:00Z" });
    }, () => who);
    await open("/login?next=%2Fspaces%2Fada%2Fengine");
    expect(document.querySelector("h1")?.textContent).toBe("Sign in");
    type("#user", " ada ");
    type("#password", "correct horse");
    await submit("#password");
    expect(await bodyOf(asked[0]!)).toEqual({ user: "ada", password: "correct horse" });
    expect(asked[0]!.credentials).toBe("same-origin");
    expect(left).toEqual(["/spaces/ada/engine"]);
  });

  it("says what was wrong, keeps the name and not the password", async () => {
    let answer = json({ error: "The name or the password is wrong" }, { status: 401 });
    hub(() => answer);
    await open("/login");
    await submit("#password");
    expect(text()).toContain("Type your name and your password.");
    type("#user", "ada");
    type("#password", "wrong");
    await submit("#password");
    expect(text()).toContain("The name or the password is wrong. If you forgot it, ask a site admin");
    expect(document.querySelector<HTMLInputElement>("#user")!.value).toBe("ada");
    expect(document.querySelector<HTMLInputElement>("#password")!.value).toBe("");
    expect(document.querySelector("#password")!.getAttribute("aria-describedby")).toBe("password-problem");
    answer = json({ error: "Too many failed attempts to sign in; try again in 8 s" }, { status: 429 });
    type("#password", "again");
    await submit("#password");
    expect(text()).toContain("try again in 8 s");
    expect(left).toEqual([]);
  });

  it("goes nowhere else than this hub", async () => {
    for (const [next, expected] of [
      ["/spaces/a/b?x=1", "/spaces/a/b?x=1"],
      ["//evil.example", "/"],
      ["/\\evil.example", "/"],
      ["https://evil.example", "/"],
      ["javascript:alert(1)", "/"],
      ["/\t/evil.example", "/"],
      ["", "/"],
      [null, "/"],
    ] as const) {
      expect(ownPath(next)).toBe(expected);
    }
    hub(() => json({}), () => ({ user: user("ada"), provider: null }));
    await open("/login?next=https:%2F%2Fevil.example");
    expect(left).toEqual([]);
    expect(text()).toContain("ada the first");
  });
});

describe("with a provider", () => {
  const provider = { label: "Sign in with the lab", url: "/login/oidc" };

  it("shows its button first, and takes the way back along", async () => {
    hub(() => json({}), () => ({ user: null, provider }));
    await open("/login?next=%2Fspaces%2Fada%2Fengine");
    const link = document.querySelector<HTMLAnchorElement>("a.primary")!;
    expect(link.textContent).toBe("Sign in with the lab");
    expect(link.getAttribute("href")).toBe("/login/oidc?next=%2Fspaces%2Fada%2Fengine");
  });

  it("says why it did not work, and what to do", async () => {
    hub(() => json({}), () => ({ user: null, provider }));
    await open("/login?problem=name-taken&next=%2Fa");
    expect(document.querySelector('[role="alert"]')?.textContent).toContain("The name you have at the sign-in service is taken here.");
    expect(text()).toContain("sign in with its password and connect it");
    await unmount(page!);
    document.body.innerHTML = "";
    await open("/login?problem=%3Cscript%3E");
    expect(document.querySelector('[role="alert"]')).toBeNull();
  });

  it("connects an account that is signed in", async () => {
    const asked = hub(
      () => json({ url: "https://login.example/authorize?x=1" }),
      () => ({ user: user("ada"), provider }),
    );
    await open("/login");
    expect(text()).toContain("Signed in in this browser.");
    press("Connect with “Sign in with the lab”");
    await pass();
    expect(new URL(asked[0]!.url).pathname).toBe("/api/settings/identities");
    expect(left).toEqual(["https://login.example/authorize?x=1"]);
  });
});

describe("a private app", () => {
  const open_app = (request: Request) => {
    const path = new URL(request.url).pathname;
    return path.endsWith("/jwt") ? json({ token: "a.b.c" }) : json(space("ada/secret", "RUNNING", { private: true }));
  };

  it("opens for whoever is signed in, with a ticket, at the page that was asked for", async () => {
    const asked = hub(open_app, () => ({ user: user("ada"), provider: null }));
    await open("/login?app=ada-secret&path=%2Fchat%3Froom%3D1");
    expect(asked.map((request) => new URL(request.url).pathname)).toEqual([
      "/api/spaces/by-subdomain/ada-secret",
      "/api/spaces/ada/secret/jwt",
    ]);
    expect(left).toEqual(["http://ada-secret.localhost:8080/chat?room=1&__sign=a.b.c"]);
  });

  it("asks who one is first, and opens then", async () => {
    let who = nobody;
    hub((request) => {
      if (request.method !== "POST") return open_app(request);
      who = { user: user("ada"), provider: null };
      return json({});
    }, () => who);
    await open("/login?app=ada-secret");
    expect(document.querySelector("h1")?.textContent).toBe("Sign in to open ada-secret");
    type("#user", "ada");
    type("#password", "correct horse");
    await submit("#password");
    await pass();
    expect(left).toEqual(["http://ada-secret.localhost:8080/?__sign=a.b.c"]);
  });

  it("keeps the way back through a provider", async () => {
    hub(() => json({}), () => ({ user: null, provider: { label: "Lab", url: "/login/oidc" } }));
    await open("/login?app=ada-secret&problem=denied&path=%2Fchat");
    expect(document.querySelector<HTMLAnchorElement>("a.primary")!.getAttribute("href")).toBe(
      `/login/oidc?next=${encodeURIComponent("/login?app=ada-secret&path=%2Fchat")}`,
    );
  });

  it("says so when one may not see it, whether or not it is there", async () => {
    let who = { user: user("bob"), provider: null } as typeof nobody;
    hub((request) => {
      if (request.method !== "POST") return json({ error: "Repository not found" }, { status: 404 });
      who = nobody;
      return json({});
    }, () => who);
    await open("/login?app=ada-secret");
    expect(text()).toContain("ada-secret is not open to you");
    expect(text()).toContain("There is no such app, or bob may not see it.");
    press("Sign in as somebody else");
    await pass();
    expect(document.querySelector("h1")?.textContent).toBe("Sign in to open ada-secret");
    expect(left).toEqual([]);
  });

  it("stays on the app's host whatever the path says", async () => {
    hub(open_app, () => ({ user: user("ada"), provider: null }));
    for (const path of ["//evil.example/x", "https://evil.example", "/\\evil.example", "@evil.example"]) {
      left = [];
      await open(`/login?app=ada-secret&path=${encodeURIComponent(path)}`);
      expect(new URL(left[0]!).host).toBe("ada-secret.localhost:8080");
      await unmount(page!);
      page = undefined;
      document.body.innerHTML = "";
    }
  });
});

describe("with a link", () => {
  it("signs in when one says so, not when the page is looked at", async () => {
    const asked = hub(() => json({ name: "ada", expiresAt: "" }));
    await open("/login/link/secret-of_the-link");
    expect(asked).toHaveLength(0);
    press("Sign in");
    await pass();
    expect(await bodyOf(asked[0]!)).toEqual({ link: "secret-of_the-link" });
    expect(left).toEqual(["/"]);
  });

  it("says what to do with one that was used", async () => {
    hub(() => json({ error: "This link was used already or has expired; ask a site admin for another one" }, { status: 401 }));
    await open("/login/link/old");
    press("Sign in");
    await pass();
    expect(text()).toContain("used already or has expired; ask a site admin");
  });
});

describe("with a token", () => {
  it("keeps it in this tab", async () => {
    hub(() => json({}), () => ({ user: session.token ? user("ada", { by: "access_token" }) : null, provider: null }));
    await open("/login");
    type("#token", "two words");
    await submit("#token");
    expect(text()).toContain("That is not a token");
    type("#token", "  hf_secret\n");
    await submit("#token");
    expect(sessionStorage.getItem("spaceport.token")).toBe("hf_secret");
    expect(left).toEqual(["/"]);
    expect(text()).not.toContain("hf_secret");
  });

  it("forgets one that the hub does not know", async () => {
    hub(() => json({}));
    vi.stubGlobal("fetch", async (request: Request) =>
      request.headers.has("Authorization") ? json({ error: "Invalid credentials" }, { status: 401 }) : json(nobody),
    );
    session.lend("hf_old");
    await open("/login");
    expect(text()).toContain("The hub does not accept your token.");
    expect(session.token).toBeNull();
    expect(document.querySelector("#password")).not.toBeNull();
  });
});

describe("a program", () => {
  it("is let in by its code, after a look at where it comes from", async () => {
    const asked = hub(
      (request) =>
        request.method === "POST" ? json({}) : json({ code: "BCDF-GHJK", origin: "192.0.2.7", since: new Date().toISOString() }),
      () => ({ user: user("ada"), provider: null }),
    );
    await open("/login/device?code=BCDF-GHJK");
    expect(asked).toHaveLength(0);
    await submit("#code");
    expect(text()).toContain("192.0.2.7");
    expect(text()).toContain("Only if you started it yourself");
    press("Let it in");
    await pass();
    expect(await bodyOf(asked[1]!)).toEqual({ code: "BCDF-GHJK", allow: true, role: "write" });
    expect(text()).toContain("Go back to your terminal");
  });

  it("is asked for again when nothing waits with the code", async () => {
    hub(() => json({ error: "No program waits" }, { status: 404 }), () => ({ user: user("ada"), provider: null }));
    await open("/login/device");
    type("#code", "XXXX");
    await submit("#code");
    expect(text()).toContain("No program waits with this code");
  });
});

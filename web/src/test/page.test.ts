import { flushSync, mount } from "svelte";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";

import App from "../App.svelte";
import { session } from "../lib/session.svelte";
import { hub, json, runtime, space, tidy, user } from "./hub";

let page: ReturnType<typeof mount> | undefined;

function open() {
  page = mount(App, { target: document.body });
  flushSync();
}

/** Lets answers arrive, and `ms` pass. */
async function pass(ms = 0) {
  await vi.advanceTimersByTimeAsync(ms);
  flushSync();
}

const text = () => document.body.textContent?.replace(/\s+/g, " ") ?? "";
const titles = () => [...document.querySelectorAll("article h2")].map((title) => title.textContent?.trim());
function button(name: string): HTMLButtonElement {
  const found = [...document.querySelectorAll("button")].find((one) => one.textContent?.trim().startsWith(name));
  if (!found) throw new Error(`no button ${name} in: ${text()}`);
  return found;
}
function type(selector: string, value: string) {
  const input = document.querySelector<HTMLInputElement>(selector)!;
  input.value = value;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  flushSync();
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.setSystemTime("2026-01-02T04:00:00Z");
});

afterEach(async () => {
  await tidy(page);
  page = undefined;
});

describe("the list", () => {
  it("shows a skeleton until the hub answers, then state and address of every Space", async () => {
    let answer!: (response: Response) => void;
    const asked = hub(() => new Promise((resolve) => (answer = resolve)));
    open();
    await pass();
    expect(text()).toContain("Loading the Spaces…");

    answer(json([space("ada/engine", "RUNNING", { cardData: { title: "Engine" } }), space("bob/broken", "BUILD_ERROR")]));
    await pass();
    expect(text()).not.toContain("Loading");
    expect(titles()).toEqual(["Engine", "broken"]);
    expect(text()).toContain("Running");
    expect(text()).toContain("Build failed");
    expect(document.querySelector<HTMLAnchorElement>("article a")?.href).toBe("http://ada-engine.localhost:8080/");
    const url = new URL(asked[0]!.url);
    expect(url.pathname).toBe("/api/spaces");
    expect(asked[0]!.headers.has("Authorization")).toBe(false);
  });

  it("says phase and elapsed time by the server's clock, and moves it on", async () => {
    const building = runtime("BUILDING", { reason: "build_running", phase: "installing", since: "2026-01-02T05:00:00Z" });
    // The server's clock is an hour and ten seconds ahead of the browser's.
    hub(() => json([space("ada/engine", "BUILDING", { runtime: building })], { headers: { Date: "Fri, 02 Jan 2026 05:00:10 GMT" } }));
    open();
    await pass();
    expect(text()).toContain("installing · 10 s");
    await pass(1000);
    expect(text()).toContain("installing · 11 s");
  });

  it("says the cause and the remedy of a failure", async () => {
    const failed = runtime("RUNTIME_ERROR", {
      reason: "loopback_only",
      phase: "failed to start",
      message: "The app listens on 127.0.0.1:7860.",
      remedy: "Let it listen on 0.0.0.0.",
      since: "2026-01-02T03:00:00Z",
    });
    hub(() => json([space("ada/engine", "RUNTIME_ERROR", { runtime: failed })]));
    open();
    await pass();
    expect(text()).toContain("The app listens on 127.0.0.1:7860.");
    expect(text()).toContain("Let it listen on 0.0.0.0.");
  });

  it("says what to do while an app that cannot be reached still starts", async () => {
    const said = {
      reason: "wrong_port",
      phase: "wrong port",
      message: "The app listens on 127.0.0.1:9999, expected 0.0.0.0:7860.",
      remedy: "Make it listen on port 7860.",
      since: "2026-01-02T03:59:50Z",
    };
    hub(() => json([space("ada/engine", "APP_STARTING", { runtime: runtime("APP_STARTING", said) })]));
    open();
    await pass();
    expect(text()).toContain("wrong port · 10 s");
    expect(text()).toContain("expected 0.0.0.0:7860. Make it listen on port 7860.");
  });

  it("keeps hostile content as text and sends nobody to a script", async () => {
    const evil = '<img src=x onerror="globalThis.broken = true"><script>globalThis.broken = true</script>';
    hub(() =>
      json([
        space("mallory/evil", "RUNTIME_ERROR", {
          host: "javascript:globalThis.broken = true",
          sdk: evil,
          cardData: { title: evil, emoji: evil, colorFrom: "red;background:url(//evil)", colorTo: evil, short_description: evil },
          runtime: runtime("RUNTIME_ERROR", { message: evil, remedy: evil }),
        }),
        space("mallory/odd", "RUNNING", {
          cardData: { title: 7, emoji: ["x"], colorFrom: {}, short_description: {}, pinned: "yes" } as never,
        }),
      ]),
    );
    open();
    await pass();
    expect(titles()).toContain(evil);
    expect(document.querySelectorAll("article img, article script, article [style]")).toHaveLength(0);
    expect(document.querySelector('a[href^="javascript"]')).toBeNull();
    expect(document.querySelector(".cover")?.getAttribute("data-from")).toBe("gray");
    expect(titles()).toContain("odd");
    expect((globalThis as { broken?: boolean }).broken).toBeUndefined();
  });

  it.each([
    ["/", "/login?app=ada-secret"],
    ["/docs?x=1", "/login?app=ada-secret&path=%2Fdocs%3Fx%3D1"],
  ])("leads to a private app at %s by way of the page that gets a ticket for it", async (base_path, link) => {
    hub(() => json([space("ada/secret", "RUNNING", { private: true, visibility: "private", cardData: { base_path } })]));
    open();
    await pass();
    expect(titles()).toEqual(["secret"]);
    expect(document.querySelector<HTMLAnchorElement>("article a")?.getAttribute("href")).toBe(link);
  });

  it("says that a failed app is tried again", async () => {
    const said = { phase: "waiting to try again", message: "It crashed.", deadline: "2026-01-02T04:00:20Z" };
    hub(() => json([space("ada/engine", "RUNTIME_ERROR", { runtime: runtime("RUNTIME_ERROR", said) })]));
    open();
    await pass();
    expect(text()).toContain("waiting to try again");
  });

  it("opens at one Space where a link names it", async () => {
    history.replaceState(null, "", "/spaces/ada/engine");
    hub(() => json([space("ada/engine", "RUNNING"), space("bob/radio", "RUNNING")]));
    open();
    await pass();
    expect(titles()).toEqual(["engine"]);
  });

  it("shows a stage it does not know as it is", async () => {
    hub(() => json([space("ada/engine", "TELEPORTING" as never)]));
    open();
    await pass();
    expect(text()).toContain("TELEPORTING");
  });

  it("follows the pages of a long list", async () => {
    const asked = hub((request) =>
      new URL(request.url).searchParams.get("cursor") === "two"
        ? json([space("ada/second", "RUNNING")])
        : json([space("ada/first", "RUNNING")], {
            headers: { Link: `<${location.origin}/api/spaces?limit=1&cursor=two>; rel="next"` },
          }),
    );
    open();
    await pass();
    expect(titles()).toEqual(["first", "second"]);
    expect(asked).toHaveLength(2);
  });

  it("filters while one types, by words of any field, and by state", async () => {
    hub(() =>
      json([
        space("ada/engine", "RUNNING", { cardData: { title: "Analytical Engine" } }),
        space("ada/loom", "SLEEPING", { cardData: { short_description: "Weaves flowers" } }),
        space("bob/radio", "RUNNING", { sdk: "docker" }),
      ]),
    );
    open();
    await pass();
    type('input[type="search"]', "ada ENGINE");
    expect(titles()).toEqual(["Analytical Engine"]);
    type('input[type="search"]', "docker");
    expect(titles()).toEqual(["radio"]);
    type('input[type="search"]', "nowhere");
    expect(text()).toContain("No Space matches “nowhere”.");
    button("Show all").click();
    flushSync();
    expect(titles()).toHaveLength(3);
    button("At rest").click();
    flushSync();
    expect(titles()).toEqual(["loom"]);
    expect(button("At rest").getAttribute("aria-pressed")).toBe("true");
  });
});

describe("an empty hub", () => {
  it("teaches the first push with this hub's own address", async () => {
    hub(() => json([]));
    open();
    await pass();
    expect(text()).toContain("Push your first demo");
    expect(text()).toContain(`git clone ${location.origin}/spaces/admin/hello`);
    type('input[autocomplete="username"]', 'ada"; rm -rf ~');
    expect(text()).toContain(`git clone ${location.origin}/spaces/adarm-rf/hello`);
  });

  it("copies a command", async () => {
    hub(() => json([]));
    const writeText = vi.fn(async () => {});
    vi.stubGlobal("navigator", { clipboard: { writeText } });
    open();
    await pass();
    const copies = document.querySelectorAll<HTMLButtonElement>('button[aria-label^="Copy"]');
    copies[2]!.click();
    await pass();
    expect(writeText).toHaveBeenCalledWith('git add app.py && git commit -m "Say hello" && git push');
    expect(copies[2]!.textContent).toBe("Copied");
  });
});

describe("failures", () => {
  it("names the cause and the request, and tries again by itself and on demand", async () => {
    let broken = true;
    const asked = hub(() =>
      broken ? json({ error: "The database is busy." }, { status: 503, headers: { "X-Request-Id": "req-7" } }) : json([]),
    );
    open();
    await pass();
    expect(text()).toContain("The hub answered 503: The database is busy.");
    expect(text()).toContain("req-7");
    await pass(2000);
    expect(asked).toHaveLength(2);
    broken = false;
    button("Try again").click();
    await pass();
    expect(text()).toContain("Push your first demo");
    expect(text()).not.toContain("503");
  });

  it("keeps the list when a refresh fails, and says that it may be old", async () => {
    let broken = false;
    hub(() => {
      if (broken) throw new TypeError("network down");
      return json([space("ada/engine", "RUNNING")]);
    });
    open();
    await pass();
    broken = true;
    await pass(10_000);
    expect(titles()).toEqual(["engine"]);
    expect(text()).toContain("cannot be reached");
    expect(text()).toContain("may be old");
  });

  it("says so when something else answers in the hub's place", async () => {
    hub(() => new Response("<html>captive portal</html>", { headers: { "Content-Type": "text/html" } }));
    open();
    await pass();
    expect(text()).toContain("not JSON");
  });
});

describe("refreshing", () => {
  it("asks often while something changes, seldom while nothing does", async () => {
    let stage: "BUILDING" | "RUNNING" = "BUILDING";
    const asked = hub(() => json([space("ada/engine", stage)]));
    open();
    await pass();
    expect(asked).toHaveLength(1);
    stage = "RUNNING";
    await pass(2000);
    expect(asked).toHaveLength(2);
    await pass(9000);
    expect(asked).toHaveLength(2);
    await pass(1000);
    expect(asked).toHaveLength(3);
  });

  it("stops while nobody looks and asks at once when somebody does", async () => {
    const asked = hub(() => json([space("ada/engine", "BUILDING")]));
    open();
    await pass();
    const hidden = vi.spyOn(document, "hidden", "get").mockReturnValue(true);
    document.dispatchEvent(new Event("visibilitychange"));
    await pass(60_000);
    expect(asked).toHaveLength(1);
    hidden.mockReturnValue(false);
    document.dispatchEvent(new Event("visibilitychange"));
    await pass();
    expect(asked).toHaveLength(2);
  });
});

describe("the corner of the page", () => {
  it("says who is signed in, and signs out", async () => {
    let who: ReturnType<typeof user> | null = user("ada");
    const asked = hub(
      (request) => {
        if (request.method !== "POST") return json(who ? [space("ada/private", "RUNNING", { private: true })] : []);
        expect(new URL(request.url).pathname).toBe("/api/logout");
        who = null;
        return json({});
      },
      () => ({ user: who, provider: null }),
    );
    open();
    await pass();
    expect(document.querySelector("header .who")?.textContent).toContain("ada");
    expect(titles()).toEqual(["private"]);
    expect(asked[0]!.credentials).toBe("same-origin");
    button("Sign out").click();
    await pass();
    expect(titles()).toEqual([]);
    expect(document.querySelector("header .who")).toBeNull();
    expect(text()).toContain("Sign in");
  });

  it("leads to the page to sign in on, and back", async () => {
    history.replaceState(null, "", "/spaces/ada/engine");
    hub(() => json([]));
    open();
    await pass();
    const link = [...document.querySelectorAll("header a")].find((one) => one.textContent?.trim() === "Sign in");
    expect(link?.getAttribute("href")).toBe("/login?next=%2Fspaces%2Fada%2Fengine");
  });

  it("forgets a token on demand", async () => {
    session.lend("hf_secret");
    const asked = hub((request) =>
      json(request.headers.get("Authorization") === "Bearer hf_secret" ? [space("ada/private", "RUNNING", { private: true })] : []),
    );
    open();
    await pass();
    expect(titles()).toEqual(["private"]);
    button("Sign out").click();
    await pass();
    expect(sessionStorage.getItem("spaceport.token")).toBeNull();
    expect(asked.at(-1)!.headers.has("Authorization")).toBe(false);
    expect(titles()).toEqual([]);
  });

  it("offers to sign out when the hub does not accept the token, and does not keep asking", async () => {
    session.lend("hf_old");
    const asked = hub((request) =>
      request.headers.has("Authorization")
        ? json({ error: "Invalid credentials in Authorization header" }, { status: 401 })
        : json([space("ada/engine", "RUNNING")]),
    );
    open();
    await pass();
    expect(text()).toContain("The hub does not accept your token.");
    await pass(60_000);
    expect(asked).toHaveLength(1);
    document.querySelector<HTMLButtonElement>('[role="alert"] button')!.click();
    await pass();
    expect(titles()).toEqual(["engine"]);
  });
});

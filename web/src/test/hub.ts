/** A hub for tests: answers `fetch` from a list of Spaces the test may change, and remembers what was asked. */
import { unmount } from "svelte";
import { vi } from "vitest";

import type { Runtime, Space, Stage } from "../api/client";
import type { SignInState, User } from "../api/sign-in";
import { session } from "../lib/session.svelte";

export type Answer = (request: Request) => Response | Promise<Response>;

export function json(body: unknown, init: ResponseInit = {}): Response {
  return new Response(JSON.stringify(body), {
    ...init,
    headers: { "Content-Type": "application/json", ...(init.headers as Record<string, string>) },
  });
}

/** A Space as the hub answers it. */
export function space(id: string, stage: Stage, more: Partial<Space> = {}): Space {
  const [author, name] = id.split("/");
  const subdomain = `${author}-${name}`;
  return {
    _id: id,
    id,
    author,
    sha: "0b189ee77b8fbc766b4f3da9113c5ce17860e832",
    lastModified: "2026-01-02T03:04:05.000Z",
    createdAt: "2026-01-01T00:00:00.000Z",
    private: false,
    visibility: "public",
    gated: false,
    disabled: false,
    likes: 0,
    trendingScore: 0,
    tags: ["gradio"],
    cardData: { sdk: "gradio", pinned: false },
    sdk: "gradio",
    host: `http://${subdomain}.localhost:8080`,
    subdomain,
    models: [],
    datasets: [],
    runtime: runtime(stage),
    ...more,
  };
}

/** How it runs, and what the hub says about that. */
export function runtime(stage: Stage, said: Partial<Runtime["spaceport"]> = {}): Runtime {
  const serving = stage.startsWith("RUNNING");
  return {
    stage,
    hardware: { current: serving ? "cpu-basic" : null, requested: "cpu-basic" },
    gcTimeout: null,
    storage: null,
    replicas: { current: serving ? 1 : 0, requested: 1 },
    devMode: false,
    domains: [],
    spaceport: {
      phase: stage.toLowerCase(),
      since: null,
      deadline: null,
      reason: null,
      message: "",
      remedy: "",
      serving,
      ...said,
    },
  };
}

/** Nobody is signed in, and there is no provider. */
export const nobody: SignInState = { user: null, provider: null };

/**
 * Puts `answer` behind `fetch` and returns the requests as they come. Who is signed in is answered from
 * `signedIn` and not among them.
 */
export function hub(answer: Answer, signedIn: () => SignInState = () => nobody): Request[] {
  const asked: Request[] = [];
  vi.stubGlobal("fetch", async (request: Request) => {
    if (request.method === "GET" && new URL(request.url).pathname === "/api/login") return json(signedIn());
    asked.push(request);
    return await answer(request);
  });
  return asked;
}

/** Somebody. */
export function user(name: string, more: Partial<User> = {}): User {
  return {
    name,
    fullname: `${name} the first`,
    avatarUrl: `/api/avatars/${name}`,
    isAdmin: false,
    by: "session",
    connected: false,
    hasPassword: true,
    ...more,
  };
}

/** Takes the page away, and everything that a test leaves in the browser. */
export async function tidy(page: Record<string, unknown> | undefined): Promise<void> {
  if (page) await unmount(page);
  session.forget();
  session.user = session.provider = null;
  history.replaceState(null, "", "/");
  document.body.innerHTML = "";
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
  vi.useRealTimers();
}

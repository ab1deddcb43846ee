/** A hub for tests: answers `fetch` from a list of Spaces the test may change, and remembers what was asked. */
import { vi } from "vitest";

import type { Space, Stage } from "../api/client";

export type Answer = (request: Request) => Response | Promise<Response>;

export function json(body: unknown, init: ResponseInit = {}): Response {
  return new Response(JSON.stringify(body), {
    ...init,
    headers: { "Content-Type": "application/json", ...(init.headers as Record<string, string>) },
  });
}

export function space(id: string, stage: Stage, more: Partial<Space> = {}): Space {
  return {
    id,
    sdk: "gradio",
    private: false,
    host: `http://${id.replace("/", "-")}.localhost:8080`,
    lastModified: "2026-01-02T03:04:05.000Z",
    cardData: {},
    runtime: { stage, hardware: { current: null, requested: null } },
    ...more,
  };
}

/** Puts `answer` behind `fetch` and returns the requests as they come. */
export function hub(answer: Answer): Request[] {
  const asked: Request[] = [];
  vi.stubGlobal("fetch", async (request: Request) => {
    asked.push(request);
    return await answer(request);
  });
  return asked;
}

/**
 * The hub's API, typed by its OpenAPI document, and the one place that turns "it failed" into a
 * sentence with a cause and a remedy.
 */
import createClient from "openapi-fetch";

import type { components, paths } from "./schema";

export type Space = components["schemas"]["SpaceInfo"];
export type Stage = components["schemas"]["SpaceStage"];
/** How it runs: stage, phase, cause and remedy. */
export type Runtime = components["schemas"]["SpaceRuntime"];

const TIMEOUT_MS = 10_000;
const PAGE_SIZE = 500;
const MOST_PAGES = 20;

export type FailureKind = "unreachable" | "timeout" | "token" | "server";

/** A request that failed, in words for the person in front of the page. */
export class Failure extends Error {
  constructor(
    readonly kind: FailureKind,
    message: string,
    readonly remedy: string,
    readonly requestId: string | null = null,
    /** What the hub answered, if it did. */
    readonly status: number | null = null,
    readonly said: string | null = null,
  ) {
    super(message);
  }
}

export interface SpaceList {
  spaces: Space[];
  /** The server's clock minus ours, in milliseconds, so that elapsed times are true. */
  clockOffsetMs: number;
}

// `fetch` is looked up at each call, so that tests can replace it.
const client = createClient<paths>({
  baseUrl: globalThis.location.origin,
  fetch: (request) => globalThis.fetch(request),
});

/** What every call has. */
type Options = {
  headers: Record<string, string>;
  credentials: RequestCredentials;
  cache: RequestCache;
  signal: AbortSignal;
};

/** One call, as whoever is signed in or with a token. Throws `Failure`, or an abort when `signal` fires. */
export async function call<T>(
  work: (hub: typeof client, options: Options) => Promise<{ data?: T; error?: unknown; response: Response }>,
  token: string | null,
  signal?: AbortSignal,
): Promise<NonNullable<T>> {
  return (await answered(work, token, signal)).data;
}

async function answered<T>(
  work: (hub: typeof client, options: Options) => Promise<{ data?: T; error?: unknown; response: Response }>,
  token: string | null,
  signal?: AbortSignal,
): Promise<{ data: NonNullable<T>; response: Response }> {
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  let result;
  try {
    result = await work(client, {
      headers: token ? { Authorization: `Bearer ${token}` } : {},
      // The cookie of whoever is signed in goes to the hub alone.
      credentials: "same-origin",
      cache: "no-store",
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw explain(error, timeout.aborted);
  }
  const { data, error, response } = result;
  if (!response.ok) throw refuse(response, error, token !== null);
  if (data === undefined || data === null) throw notAHub(response);
  return { data, response };
}

/** Every Space the token (or nobody) may see. Throws `Failure`, or an abort when `signal` fires. */
export async function listSpaces(token: string | null, signal: AbortSignal): Promise<SpaceList> {
  const spaces: Space[] = [];
  let clockOffsetMs = 0;
  let cursor: string | undefined;
  for (let page = 0; page < MOST_PAGES; page++) {
    const answer = await listPage(token, cursor, signal);
    spaces.push(...answer.spaces);
    clockOffsetMs = answer.clockOffsetMs;
    cursor = answer.cursor;
    if (!cursor) break;
  }
  return { spaces, clockOffsetMs };
}

async function listPage(token: string | null, cursor: string | undefined, signal: AbortSignal) {
  const { data, response } = await answered(
    (hub, options) => hub.GET("/api/spaces", { ...options, params: { query: { limit: PAGE_SIZE, cursor } } }),
    token,
    signal,
  );
  if (!Array.isArray(data)) throw notAHub(response);
  const date = Date.parse(response.headers.get("Date") ?? "");
  return {
    spaces: data,
    cursor: nextCursor(response.headers.get("Link")),
    clockOffsetMs: Number.isNaN(date) ? 0 : date - Date.now(),
  };
}

/** The cursor of `Link: <…?cursor=abc>; rel="next"`. */
export function nextCursor(link: string | null): string | undefined {
  const url = link?.match(/<([^>]*)>\s*;[^,]*\brel="?next"?/)?.[1];
  if (!url) return undefined;
  return new URL(url, globalThis.location.origin).searchParams.get("cursor") ?? undefined;
}

function explain(error: unknown, timedOut: boolean): Failure {
  const hub = globalThis.location.origin;
  if (timedOut) {
    return new Failure(
      "timeout",
      `${hub} did not answer within ${TIMEOUT_MS / 1000} seconds.`,
      "The server may be very busy. Apps that run are not affected.",
    );
  }
  if (error instanceof SyntaxError) {
    return new Failure("server", `${hub} sent an answer that is not JSON.`, "Check what stands between you and the hub.");
  }
  return new Failure(
    "unreachable",
    `${hub} cannot be reached.`,
    "Check your connection, or whether the server runs. Apps that run are not affected.",
  );
}

function refuse(response: Response, body: unknown, hadToken: boolean): Failure {
  const requestId = response.headers.get("X-Request-Id");
  const said = (body as { error?: unknown } | undefined)?.error;
  const text = typeof said === "string" ? said : response.headers.get("X-Error-Message");
  const { status } = response;
  if (response.status === 401 && hadToken) {
    return new Failure("token", "The hub does not accept your token.", "Forget it, or use another one.", requestId, status, text);
  }
  return new Failure(
    "server",
    text ? `The hub answered ${response.status}: ${text}` : `The hub answered ${response.status}.`,
    response.status >= 500
      ? "The log of the server has the cause. Apps that run are not affected."
      : "Reload the page: it may be older than the server.",
    requestId,
    status,
    text,
  );
}

function notAHub(response: Response): Failure {
  return new Failure(
    "server",
    "The hub sent an answer that this page does not know.",
    "Reload the page: it may be older than the server.",
    response.headers.get("X-Request-Id"),
  );
}

/** Signing in and out, and the way into a private app. */
import { call, type Failure } from "./client";
import type { components } from "./schema";

export type SignInState = components["schemas"]["SignInView"];
export type User = components["schemas"]["SignedInUser"];
export type Provider = components["schemas"]["ProviderView"];

/** Who is signed in, and how one can. */
export async function getSignIn(token: string | null): Promise<SignInState> {
  return await call((client, options) => client.GET("/api/login", options), token);
}

export async function signIn(user: string, password: string): Promise<void> {
  await call((client, options) => client.POST("/api/login", { ...options, body: { user, password } }), null);
}

export async function signInWithLink(link: string): Promise<void> {
  await call((client, options) => client.POST("/api/login/link", { ...options, body: { link } }), null);
}

export async function signOut(): Promise<void> {
  await call((client, options) => client.POST("/api/logout", options), null);
}

export type Device = components["schemas"]["DeviceView"];

/** The program that waits with a code. */
export async function deviceOf(code: string): Promise<Device> {
  return await call((client, options) => client.GET("/api/login/device", { ...options, params: { query: { code } } }), null);
}

/** Lets the program in, or not. */
export async function answerDevice(code: string, allow: boolean, role: string): Promise<void> {
  await call((client, options) => client.POST("/api/login/device", { ...options, body: { code, allow, role } }), null);
}

/** The provider's page on which one agrees to be connected. */
export async function connect(next: string): Promise<string> {
  const answer = await call((client, options) => client.POST("/api/settings/identities", { ...options, body: { next } }), null);
  return answer.url;
}

/**
 * The address of an app with a ticket for the caller in it; `null` when there is no such app, or the caller may
 * not see it.
 */
export async function ticketTo(subdomain: string, path: string, token: string | null): Promise<string | null> {
  try {
    const space = await call(
      (client, options) => client.GET("/api/spaces/by-subdomain/{subdomain}", { ...options, params: { path: { subdomain } } }),
      token,
    );
    const [owner, name] = (space.id ?? "").split("/");
    const host = space.host;
    if (!owner || !name || !host) return null;
    const ticket = await call(
      (client, options) => client.GET("/api/spaces/{owner}/{name}/jwt", { ...options, params: { path: { owner, name } } }),
      token,
    );
    const address = new URL(host);
    if (address.protocol !== "https:" && address.protocol !== "http:") return null;
    // The path is the visitor's; wherever it points, it stays on the app's host.
    const at = path.indexOf("?");
    address.pathname = at < 0 ? path : path.slice(0, at);
    address.search = at < 0 ? "" : path.slice(at);
    address.searchParams.set("__sign", ticket.token);
    return address.href;
  } catch (error) {
    const status = (error as Failure).status;
    if (status === 404 || status === 401) return null;
    throw error;
  }
}

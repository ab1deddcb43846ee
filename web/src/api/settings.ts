/** One's own account: password, tokens, and the browsers in which one is signed in. */
import { call } from "./client";
import type { components } from "./schema";

export type Token = components["schemas"]["TokenView"];
export type NewToken = components["schemas"]["NewTokenView"];
export type TokenRequest = components["schemas"]["TokenRequest"];
export type Browser = components["schemas"]["SessionView"];

/** Sets the password; ends all sessions but this one. */
export async function setPassword(password: string, current: string | null, token: string | null): Promise<void> {
  await call((client, options) => client.POST("/api/settings/password", { ...options, body: { password, current } }), token);
}

export async function listTokens(token: string | null): Promise<Token[]> {
  return await call((client, options) => client.GET("/api/settings/tokens", options), token);
}

/** The answer has the token's value, the only time it is shown. */
export async function createToken(body: TokenRequest, token: string | null): Promise<NewToken> {
  return await call((client, options) => client.POST("/api/settings/tokens", { ...options, body }), token);
}

export async function deleteToken(id: string, token: string | null): Promise<void> {
  await call((client, options) => client.DELETE("/api/settings/tokens/{token}", { ...options, params: { path: { token: id } } }), token);
}

export async function listBrowsers(token: string | null): Promise<Browser[]> {
  return await call((client, options) => client.GET("/api/settings/sessions", options), token);
}

export async function endBrowser(id: string, token: string | null): Promise<void> {
  await call((client, options) => client.DELETE("/api/settings/sessions/{session}", { ...options, params: { path: { session: id } } }), token);
}

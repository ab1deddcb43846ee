/** Where one goes from here. */

/** Leaves for an address, so that "back" does not come back to this page. */
export function leave(address: string) {
  globalThis.location.replace(address);
}

/** A path of this hub, or the first page: what an address says about where to go next is anybody's. */
export function ownPath(next: string | null): string {
  if (!next || !/^\/(?![/\\])[\x21-\x5b\x5d-\x7e]*$/.test(next)) return "/";
  try {
    return new URL(next, globalThis.location.origin).origin === globalThis.location.origin ? next : "/";
  } catch {
    return "/";
  }
}

/** The page to sign in on, and to come back from to where one is. */
export function signInAddress(): string {
  const { pathname, search } = globalThis.location;
  const here = pathname + search;
  return here === "/" ? "/login" : `/login?next=${encodeURIComponent(here)}`;
}

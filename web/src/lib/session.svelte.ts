/**
 * The token of this tab. It is kept in `sessionStorage`: gone with the tab, out of reach of the
 * apps (they live on other origins), and never in a cookie, so no other site can use it.
 */
const KEY = "spaceport.token";

class Session {
  token = $state<string | null>(read());

  signIn(token: string) {
    this.token = token;
    try {
      sessionStorage.setItem(KEY, token);
    } catch {
      // Storage is switched off: the token lives until the page is reloaded.
    }
  }

  signOut() {
    this.token = null;
    try {
      sessionStorage.removeItem(KEY);
    } catch {
      // As above: there was nothing stored.
    }
  }
}

function read(): string | null {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export const session = new Session();

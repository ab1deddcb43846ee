/**
 * Who is signed in. As a rule that is a cookie no script can read; this page only asks the hub whose it is.
 *
 * Without an account's password one can lend this tab an access token: it is kept in `sessionStorage`, gone
 * with the tab and out of reach of the apps (they live on other origins).
 */
import { getSignIn, signOut, type Provider, type User } from "../api/sign-in";

const KEY = "spaceport.token";

class Session {
  token = $state<string | null>(read());
  user = $state.raw<User | null>(null);
  /** The provider one can sign in with. */
  provider = $state.raw<Provider | null>(null);
  /** Raised by each sign-out: what was shown before is shown no more. */
  epoch = $state(0);

  /** Asks the hub. Throws `Failure`. */
  async load(): Promise<void> {
    const answer = await getSignIn(this.token);
    this.user = answer.user ?? null;
    this.provider = answer.provider ?? null;
  }

  /** Lends this tab a token. */
  lend(token: string) {
    this.token = token;
    try {
      sessionStorage.setItem(KEY, token);
    } catch {
      // Storage is switched off: the token lives until the page is reloaded.
    }
  }

  /** Ends the session of this browser, or forgets the token. Throws `Failure`. */
  async signOut(): Promise<void> {
    if (this.token) this.forget();
    else await signOut();
    this.user = null;
    this.epoch += 1;
  }

  /** Forgets the token of this tab. */
  forget() {
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

/** What the hub's address says when a sign-in with the provider did not work: the cause, and what to do. */
export interface Problem {
  cause: string;
  remedy: string;
}

const PROBLEMS: Record<string, Problem> = {
  provider: {
    cause: "The sign-in service does not answer as it should.",
    remedy: "Try again in a minute. If it stays, tell a site admin: the server's log has the cause. A password still works.",
  },
  denied: {
    cause: "The sign-in was cancelled, or the sign-in service said no.",
    remedy: "Try again, and agree when you are asked to share your name.",
  },
  expired: {
    cause: "That sign-in took too long, or began in another window.",
    remedy: "Start again here. Cookies must be allowed for this site.",
  },
  code: {
    cause: "That sign-in was used already.",
    remedy: "Start again here.",
  },
  token: {
    cause: "The sign-in service sent an answer this site cannot trust.",
    remedy: "Tell a site admin: the server's log says which rule it breaks.",
  },
  clock: {
    cause: "The clocks of the sign-in service and of this server differ by more than a minute.",
    remedy: "Tell a site admin: one of the two must be set.",
  },
  "not-admitted": {
    cause: "Your account at the sign-in service is not among those who may sign in here.",
    remedy: "Ask a site admin to let you in, or sign in there as somebody else.",
  },
  "no-account": {
    cause: "You have no account here, and this site makes none by itself.",
    remedy: "Ask a site admin for one. If you have one with a password, sign in with that and connect it.",
  },
  "name-taken": {
    cause: "The name you have at the sign-in service is taken here.",
    remedy: "If that account is yours, sign in with its password and connect it. Otherwise ask a site admin.",
  },
  "no-name": {
    cause: "The sign-in service gives you no name that an account here can have.",
    remedy: "Ask a site admin to make an account for you.",
  },
  disabled: {
    cause: "Your account is disabled.",
    remedy: "Ask a site admin to enable it.",
  },
  connected: {
    cause: "That sign-in belongs to another account already.",
    remedy: "Sign in with it to see which one, or ask a site admin.",
  },
  busy: {
    cause: "Very many people are signing in right now.",
    remedy: "Try again in a few seconds.",
  },
  failed: {
    cause: "The hub failed at your sign-in.",
    remedy: "Try again. If it stays, tell a site admin: the server's log has the cause.",
  },
};

export function problemOf(code: string | null): Problem | null {
  return code && Object.hasOwn(PROBLEMS, code) ? PROBLEMS[code]! : null;
}

/**
 * The list of Spaces, kept fresh by asking again: often while something changes, seldom while
 * nothing does, never while nobody looks. A failed refresh keeps what is shown.
 */
import { Failure, listSpaces, type Space } from "../api/client";
import { lookOf } from "./stage";

const BUSY_MS = 2_000;
const CALM_MS = 10_000;
const FIRST_RETRY_MS = 2_000;
const LONGEST_RETRY_MS = 30_000;
const TICK_MS = 1_000;

export class SpacesFeed {
  /** `null` until the first answer. */
  spaces = $state.raw<Space[] | null>(null);
  failure = $state.raw<Failure | null>(null);
  loading = $state(false);
  /** The server's time, for elapsed times; moves once a second while the page is looked at. */
  now = $state(Date.now());

  #token: string | null = null;
  #epoch = 0;
  #clockOffsetMs = 0;
  #failures = 0;
  #request: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #ticker: ReturnType<typeof setInterval> | undefined;

  /** Begins to ask with this token; ends with the function it returns. A new epoch forgets what was seen. */
  start(token: string | null, epoch: number): () => void {
    if (token !== this.#token || epoch !== this.#epoch) {
      this.spaces = null;
      this.failure = null;
      this.#failures = 0;
    }
    this.#token = token;
    this.#epoch = epoch;
    const look = () => (document.hidden ? this.#pause() : void this.refresh());
    document.addEventListener("visibilitychange", look);
    look();
    return () => {
      document.removeEventListener("visibilitychange", look);
      this.#pause();
    };
  }

  /** Asks now; a request under way is dropped. */
  async refresh(): Promise<void> {
    this.#pause();
    const request = (this.#request = new AbortController());
    this.loading = true;
    this.#tick();
    this.#ticker = setInterval(() => this.#tick(), TICK_MS);
    try {
      const answer = await listSpaces(this.#token, request.signal);
      if (request.signal.aborted) return;
      this.spaces = sorted(answer.spaces);
      this.#clockOffsetMs = answer.clockOffsetMs;
      this.failure = null;
      this.#failures = 0;
    } catch (error) {
      if (request.signal.aborted) return;
      if (!(error instanceof Failure)) throw error;
      this.failure = error;
      this.#failures += 1;
    }
    this.loading = false;
    this.#tick();
    const wait = this.#wait();
    if (wait !== null) this.#timer = setTimeout(() => void this.refresh(), wait);
  }

  /** `null` for never: a token that was refused stays refused. */
  #wait(): number | null {
    if (this.failure?.kind === "token") return null;
    if (this.failure) return Math.min(FIRST_RETRY_MS * 2 ** (this.#failures - 1), LONGEST_RETRY_MS);
    return this.spaces?.some((space) => lookOf(space).tone === "busy") ? BUSY_MS : CALM_MS;
  }

  #tick() {
    this.now = Date.now() + this.#clockOffsetMs;
  }

  #pause() {
    this.#request?.abort();
    this.loading = false;
    clearTimeout(this.#timer);
    clearInterval(this.#ticker);
  }
}

/** Pinned first, then the newest change; ids decide what is left, so that cards do not jump. */
function sorted(spaces: Space[]): Space[] {
  return [...spaces].sort(
    (a, b) =>
      Number(b.cardData?.pinned ?? false) - Number(a.cardData?.pinned ?? false) ||
      (b.lastModified ?? "").localeCompare(a.lastModified ?? "") ||
      a.id.localeCompare(b.id),
  );
}

import { Failure } from "../api/client";

/** What is asked of the hub, one thing after the other, and how the last of it failed. */
export class Attempts {
  failure = $state.raw<Failure | null>(null);

  /** Does it; what the hub refuses is kept, what is our own mistake is thrown. */
  async make(work: () => Promise<void>) {
    this.failure = null;
    try {
      await work();
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      this.failure = error;
    }
  }
}

/** Stages in words and colours. The colour never stands alone: the label says the same. */
import type { Space } from "../api/client";

/** `good` serves, `busy` changes by itself, `bad` needs a person, `idle` rests. */
export type Tone = "good" | "busy" | "bad" | "idle";

interface Look {
  label: string;
  tone: Tone;
}

const LOOKS: Record<string, Look> = {
  RUNNING: { label: "Running", tone: "good" },
  RUNNING_BUILDING: { label: "Running, update building", tone: "busy" },
  RUNNING_APP_STARTING: { label: "Running, update starting", tone: "busy" },
  BUILDING: { label: "Building", tone: "busy" },
  APP_STARTING: { label: "Starting", tone: "busy" },
  DELETING: { label: "Deleting", tone: "busy" },
  NO_APP_FILE: { label: "No app file", tone: "bad" },
  CONFIG_ERROR: { label: "Configuration error", tone: "bad" },
  BUILD_ERROR: { label: "Build failed", tone: "bad" },
  RUNTIME_ERROR: { label: "App failed", tone: "bad" },
  SLEEPING: { label: "Sleeping", tone: "idle" },
  PAUSED: { label: "Paused", tone: "idle" },
  STOPPED: { label: "Stopped", tone: "idle" },
};

/** A stage this page does not know, from a newer server, is shown as it is. */
export function look(stage: string | undefined): Look {
  if (!stage) return { label: "Unknown", tone: "idle" };
  return (Object.hasOwn(LOOKS, stage) && LOOKS[stage]) || { label: stage, tone: "idle" };
}

/** A repository without a commit is new, not broken. */
export function lookOf(space: Space): Look {
  const runtime = space.runtime;
  if (runtime?.spaceport?.reason === "empty_repository") return { label: "Waits for a push", tone: "idle" };
  return look(runtime?.stage);
}

/** Whether the address answers: the version before may do so while the newest one failed. */
export function isServing(space: Space): boolean {
  return space.runtime?.spaceport?.serving ?? space.runtime?.stage?.startsWith("RUNNING") ?? false;
}

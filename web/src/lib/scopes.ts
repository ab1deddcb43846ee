/** What a fine-grained token is for, as one types it: a place on each line. */
import type { TokenRequest } from "../api/settings";

type Scopes = NonNullable<TokenRequest["fineGrained"]>;

export const PERMISSIONS = [
  { id: "repo.content.read", label: "Read files" },
  { id: "repo.write", label: "Change repositories, push, run Spaces" },
  { id: "discussion.write", label: "Take part in discussions" },
  { id: "org.write", label: "Change organizations" },
] as const;

/** Without places the permissions hold everywhere the account has them. */
export function scopesOf(places: string, permissions: string[], user: string): Scopes {
  const named = places
    .split("\n")
    .map((line) => line.trim().replace(/^\/+|\/+$/g, ""))
    .filter((line) => line !== "");
  if (named.length === 0) return { global: permissions, scoped: [] };
  const scope = (place: string) => {
    if (place.includes("/")) return { repo: place, permissions };
    return place.toLowerCase() === user.toLowerCase() ? { user: place, permissions } : { org: place, permissions };
  };
  return { global: [], scoped: named.map(scope) };
}

/** The same in words: `models/ada/engine, lab`. */
export function placesOf(scopes: { scoped: { entity: { type: string; name: string } }[] } | null | undefined): string {
  const name = ({ entity }: { entity: { type: string; name: string } }) =>
    ["model", "dataset", "space"].includes(entity.type) ? `${entity.type}s/${entity.name}` : entity.name;
  return (scopes?.scoped ?? []).map(name).join(", ");
}
